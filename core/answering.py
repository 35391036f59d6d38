"""What follows from a person's words, inside the commit that records them: a task, a hand on one, or a reply.

`core.commands` reads the words; the wording of replies is in `core.cards`.
"""

from __future__ import annotations

from typing import Any, assert_never

from core import (
    branching,
    cards,
    commands,
    config,
    explaining,
    linking,
    orders,
    plans,
    returning,
    spoken,
    steering,
    texting,
)
from core.db import Connection
from core.deps import Deps
from core.display import visible
from core.following import IS_HERE, NOT_HERE, Following, following
from core.models import PlanFirst, PlannedStep, Received, SkillManifest
from core.organisation import BadInputs, note_scopes, sees_all, sees_conversation
from core.store import approvals, children, conversations, families, grants, memories, people, signals, skills, tasks
from core.store.people import Principal

NO_MODEL = (
    "I have no language model here, so I understand commands only. Say help for all of them,"
    " or do <skill> name=value to run one skill."
)
NONE_HERE = "You have no task here that this could mean. Say tasks to see them all, then e.g. {verb} 12."
ONLY_OWNERS = "Only an owner may let people in."
NO_CODE = "That code is not known, was used, or is older than an hour; or there is no such person to link it to."
NOT_SPOKEN = "That I take only in writing: it is about who decides, or on what. Nothing was changed."
TYPED_ONLY = (commands.OnCard, commands.Away, commands.Pair, commands.LinkTelegram, commands.Sms)
RECALLED = 5


async def answer(
    tx: Connection,
    deps: Deps,
    text: str,
    person: Principal,
    *,
    inbound: int,
    conversation: int,
    filled_in: tuple[str, ...] = (),
    answers_to: str = "",
    addressed: bool = True,
    by_voice: bool = False,
) -> Received:
    """Do what the words say; a reply goes into the outbox of the conversation.

    `filled_in` are the parts of the text that a webhook's body was put into: nobody's own words. `answers_to` is our
    message that they answer; not `addressed` are words in a thread that a task owns. Words `by_voice`, which may be misheard,
    change nothing about what others decide on, or who does.
    """
    manifests = await skills.manifests(tx)
    command = commands.parse(text, manifests, deps.organisation.runbooks)
    turn = _Turn(tx, deps, person, inbound, conversation, manifests)
    if by_voice and isinstance(command, TYPED_ONLY):
        return await turn.say(NOT_SPOKEN)
    if not isinstance(command, commands.Digest):
        await returning.welcome(tx, deps, person, inbound, conversation)
    match command:
        case commands.Do() | commands.Run():
            return await turn.begin(text, command, filled_in, "never")
        case commands.PlanFirst(inner):
            return await turn.begin(text, inner, filled_in, "always")
        case commands.OnTask(verb, task):
            return await turn.on_task(verb, task)
        case commands.Follow(task):
            return await turn.follow(task)
        case commands.Digest(within_s):
            return await turn.say(await returning.digest(tx, deps, person, inbound, conversation, within_s))
        case commands.Fork(task, step, words):
            return await turn.fork(task, step, words)
        case commands.RollBack(task, version):
            return await turn.roll_back(task, version)
        case commands.OnCard():
            said, task = await spoken.on_card(tx, deps, person, command, inbound)
            await conversations.say(tx, conversation, said)
            if task is not None:
                await turn.bring_along(task)
            return Received(inbound, task, "steered" if task else "answered")
        case commands.Revoke(grant):
            done = await grants.revoke(tx, grant, person.id, is_owner="owner" in person.roles)
            return await turn.say(spoken.REVOKED if done else spoken.NO_GRANT)
        case commands.Away(until, to):
            return await turn.say(await spoken.away(tx, deps, person, until, to))
        case commands.Show(what):
            return await turn.say(await turn.shown(what))
        case commands.Remember(note):
            if "note.remember" in manifests:
                return await turn.start(text, "do", (plans.act_step(manifests["note.remember"], {"text": note}),))
            return await turn.say("No worker here can keep notes.")
        case commands.Recall(words):
            return await turn.say(cards.notes_text(await turn.recalled(words)))
        case commands.Pair(code, other, roles):
            return await turn.say(await turn.let_in(code, other, roles))
        case commands.LinkTelegram():
            said, link = await linking.begin(tx, deps, person, conversation)
            return await turn.say(said, link)
        case commands.Sms(what, given):
            return await turn.say(await turn.phone(what, given))
        case commands.Wrong(say):
            return await turn.say(say)
        case commands.Steer(task, words, now):
            return await turn.tell(task, words, "interrupt" if now else "normal")
        case commands.Prioritise(task, level):
            return await turn.prioritise(task, level)
        case commands.PlainText():
            heard = await turn.overhear(text, answers_to, addressed) if not filled_in else None
            if heard is not None:
                return heard
            return await turn.begin(text, command, filled_in, "never")
        case _:
            assert_never(command)


async def lay_hand(
    tx: Connection, deps: Deps, person: Principal, verb: str, task: int, *, inbound: int | None
) -> tuple[str, int | None]:
    """Stop, pause, resume, retry or undo a task that the person may see: (what to say, a task that was started)."""
    if verb == "undo":
        return await _undo(tx, person, task, inbound)
    if verb == "stop":
        status = await tasks.cancel(tx, task, person.actor, "stopped by " + (person.name or person.key))
        return cards.stopped_text(task, status, await children.not_stopped(tx, task)), None
    moves = {"pause": families.pause, "resume": families.resume, "retry": families.retry}
    if verb not in moves:
        return f"A task can't be {verb!r}; say stop, pause, resume, retry or undo.", None
    was = await tasks.status_of(tx, task)
    hand = await moves[verb](tx, task, person.actor)
    if verb == "retry" and (was != "failed" or hand.status == "failed"):
        return cards.not_retried_text(task, hand.status), None
    if verb in ("resume", "retry"):
        for moved in (task, *hand.also):
            await signals.note_history(tx, moved, verb, person.id)
    return cards.moved_text(task, hand.status, hand.also), None


async def _undo(tx: Connection, person: Principal, task: int, inbound: int | None) -> tuple[str, int | None]:
    await families.hold(tx, task)  # who presses twice means it once
    n, by = await tasks.undo_of(tx, task)
    shown = await tasks.whole(tx, task)
    if n is None or shown is None:
        return f"Nothing in task {task} can be undone.", None
    if by is not None:
        return f"Step {n} of task {task} is being undone already, by task {by}.", None
    manifests = await skills.manifests(tx)
    skill = next(s["skill"] for s in shown["steps"] if s["n"] == n) + ".undo"
    if skill not in manifests:
        return "No worker here can undo that.", None
    step = plans.act_step(manifests[skill], {"task": str(task), "step": n})
    conversation = await tasks.conversation_of(tx, task)
    started = await tasks.create(
        tx, requester=person.id, goal=f"undo {task}", kind="do", steps=(step,), actor=person.actor, inbound=inbound,
        conversation=conversation,
    )  # fmt: skip
    return f"Undoing step {n} of task {task}.", started


class _Turn:
    """One message of one person, within its transaction."""

    def __init__(
        self,
        tx: Connection,
        deps: Deps,
        person: Principal,
        inbound: int,
        conversation: int,
        manifests: dict[str, SkillManifest],
    ) -> None:
        self.tx, self.deps, self.person, self.inbound = tx, deps, person, inbound
        self.conversation, self.manifests = conversation, manifests

    async def say(self, text: str, link: str | None = None) -> Received:
        await conversations.say(self.tx, self.conversation, text, link=link)
        return Received(self.inbound, None, "answered")

    async def begin(
        self,
        text: str,
        asked: commands.Do | commands.Run | commands.PlainText,
        filled_in: tuple[str, ...],
        way: PlanFirst,
    ) -> Received:
        """A task of its own; `way` says whether its plan is approved before any of it runs."""
        organisation = self.deps.organisation
        if isinstance(asked, commands.PlainText):
            if not self.deps.settings.has_model(organisation.models):
                return await self.say(NO_MODEL)
            return await self.start(text, "plan", (plans.plan_step(way),))
        try:
            kind, steps, within_s = orders.spelled_out(asked, organisation, self.manifests, way)
        except BadInputs as error:
            return await self.say(str(error))
        return await self.start(text, kind, plans.distrust(steps, text, filled_in), within_s)

    async def start(
        self, goal: str, kind: str, steps: tuple[PlannedStep, ...], within_s: float | None = None
    ) -> Received:
        task = await tasks.create(
            self.tx, requester=self.person.id, goal=goal, kind=kind, steps=steps, actor=self.person.actor,
            inbound=self.inbound, conversation=self.conversation,
        )  # fmt: skip
        if task is not None and within_s is not None:
            await children.set_deadline(self.tx, task, within_s)
        return Received(self.inbound, task, "task")

    async def on_task(self, verb: commands.TaskVerb, number: int | None) -> Received:
        task = number or await self._meant(verb)
        if task is None:
            return await self.say(NONE_HERE.format(verb=verb))
        roles = self.person.roles
        shown = await steering.seen(self.tx, self.deps, self.person, task)
        if shown is None:
            return await self.say(cards.NO_TASK)
        if verb == "status":
            return await self.say(cards.status_text(shown))
        if verb == "why":
            return await self.say(await explaining.why(self.tx, self.deps, self.manifests, task, shown))
        if shown["requester"] != self.person.key and not sees_all(self.deps.organisation, roles):
            return await self.say(cards.NOT_YOURS)
        if shown.get("archived_at"):
            return await self.say(cards.ARCHIVED)
        said, started = await lay_hand(self.tx, self.deps, self.person, verb, task, inbound=self.inbound)
        await conversations.say(self.tx, self.conversation, said)
        if started is None:
            await self.bring_along(task)
        return Received(self.inbound, started or task, "task" if started else "steered")

    async def follow(self, task: int) -> Received:
        """Its cards are the answer, unless they are here already."""
        shown = await steering.seen(self.tx, self.deps, self.person, task)
        if shown is None:
            return await self.say(cards.NO_TASK)
        match await self._joined(shown):
            case "joins":
                return Received(self.inbound, task, "steered")
            case "is_over":
                return await self.say(cards.status_text(shown))
            case "is_here":
                return await self.say(IS_HERE.format(task=task))
            case "not_here":
                return await self.say(NOT_HERE.format(task=task))

    async def bring_along(self, task: int) -> None:
        """Whoever lays a hand on a task from elsewhere sees there what comes of it."""
        shown = await steering.seen(self.tx, self.deps, self.person, task)
        if shown is not None:
            await self._joined(shown)

    async def _joined(self, shown: dict[str, Any]) -> Following:
        here = await conversations.by_id(self.tx, self.conversation)
        assert here is not None, "it holds the message that is being answered"
        task = int(shown["id"])
        home = await conversations.by_id(self.tx, await tasks.conversation_of(self.tx, task) or 0)
        came = following(shown, here.place, home.place if home else None)
        if came == "joins" and not await tasks.follow(self.tx, task, here.id, self.person.id):
            return "is_here"
        return came

    async def fork(self, task: int, step: int, words: tuple[commands.Word, ...]) -> Received:
        shown = await steering.seen(self.tx, self.deps, self.person, task)
        if shown is None:
            return await self.say(cards.NO_TASK)
        skill = next((s["skill"] for s in shown["steps"] if s["n"] == step), "")
        manifest = self.manifests.get(skill)
        takes_model = manifest is not None and "model" in manifest.args_schema.get("properties", {})
        model = None if takes_model else next((w.text for w in words if w.key == "model"), None)
        try:
            args = commands.read_given([w for w in words if takes_model or w.key != "model"], manifest)
            done = await branching.fork(self.tx, self._asked(), task, step, args=args, model=model)
        except (ValueError, branching.CannotBranch) as error:
            return await self.say(cards.sentence(str(error)))
        return await self._went_on(done, task)

    async def roll_back(self, task: int, version: str) -> Received:
        shown = await steering.seen(self.tx, self.deps, self.person, task)
        if shown is None:
            return await self.say(cards.NO_TASK)
        if shown["requester"] != self.person.key and not sees_all(self.deps.organisation, self.person.roles):
            return await self.say(cards.NOT_YOURS)
        try:
            done = await branching.roll_back(self.tx, self._asked(), task, version)
        except (branching.CannotBranch, branching.NoSuchVersion) as error:
            return await self.say(cards.sentence(str(error)))
        return await self._went_on(done, task)

    async def _went_on(self, done: branching.Branched, task: int) -> Received:
        await conversations.say(self.tx, self.conversation, done.said)
        return Received(self.inbound, done.task, "steered" if done.task == task else "task")

    def _asked(self) -> branching.Asked:
        return branching.Asked(self.person, self.inbound, self.conversation)

    async def tell(self, task: int, words: str, priority: signals.Priority) -> Received:
        sent, said = await steering.tell(
            self.tx, self.deps, self.person, task, words, priority=priority, inbound=self.inbound
        )
        await conversations.say(self.tx, self.conversation, said)
        if sent.kind == "sent":
            await self.bring_along(task)
        return Received(
            self.inbound, task if sent.kind == "sent" else None, "steered" if sent.kind == "sent" else "answered"
        )

    async def overhear(self, text: str, answers_to: str, addressed: bool) -> Received | None:
        return await steering.overhear(
            self.tx, self.deps, self.person, text, inbound=self.inbound, conversation=self.conversation,
            answers_to=answers_to, addressed=addressed,
        )  # fmt: skip

    async def prioritise(self, task: int, level: commands.Level) -> Received:
        shown = await steering.seen(self.tx, self.deps, self.person, task)
        if shown is None:
            return await self.say(cards.NO_TASK)
        if shown["requester"] != self.person.key and not sees_all(self.deps.organisation, self.person.roles):
            return await self.say(cards.NOT_YOURS)
        status = await families.set_priority(self.tx, task, config.PRIORITIES.index(level), self.person.actor)
        await conversations.say(self.tx, self.conversation, cards.prioritised_text(task, level, status))
        await self.bring_along(task)
        return Received(self.inbound, task, "steered")

    async def _meant(self, verb: commands.TaskVerb) -> int | None:
        """Without a number: the person's newest task here that the verb makes sense for."""
        if verb == "undo":
            found = await tasks.newest_undoable(self.tx, self.conversation, self.person.id)
            return found[0] if found else None
        only_open = verb in ("stop", "pause", "resume")
        return await tasks.newest_in(self.tx, self.conversation, self.person.id, only_open=only_open)

    async def shown(self, what: str) -> str:
        roles, organisation = self.person.roles, self.deps.organisation
        everything, here = sees_all(organisation, roles), sees_conversation(organisation, roles)
        if what == "tasks":
            return cards.tasks_text(
                await tasks.listed(self.tx, self.person.id, sees_all=everything, sees_conversation=here, only_open=True)
            )
        if what == "approvals":
            waiting = await approvals.listed(self.tx, self.person.id, sees_all=everything)
            return cards.approvals_text(waiting, self.deps.settings.base_url())
        if what == "grants":
            return cards.grants_text(await grants.listed(self.tx, self.person.id))
        runbooks = {name: book.say for name, book in organisation.runbooks.items()}
        has_model = self.deps.settings.has_model(organisation.models)
        return cards.help_text(self.manifests.values(), runbooks, has_model=has_model)

    async def recalled(self, words: str) -> list[dict[str, Any]]:
        scopes = note_scopes(self.deps.organisation, self.person.roles)
        return await memories.recall(self.tx, self.person.id, words, RECALLED, self.conversation, scopes=scopes)

    async def let_in(self, code: str, other: str | None, roles: tuple[str, ...]) -> str:
        if "owner" not in self.person.roles:
            return ONLY_OWNERS
        if why := None if other else self._unfit(code, roles):
            return why
        let_in = await people.confirm_pairing(self.tx, code, self.person, link_to=other, roles=roles)
        if let_in is None:
            return NO_CODE
        return f"{let_in.name} is let in as {let_in.key}, with the roles: {', '.join(let_in.roles) or 'none'}."

    def _unfit(self, code: str, roles: tuple[str, ...]) -> str | None:
        """Where roles say who may do what, somebody new without one could do nothing, and their code would be used up."""
        organisation = self.deps.organisation
        known = {"owner", *organisation.roles, *(role for one in organisation.people.values() for role in one.roles)}
        if not organisation.roles or (roles and known.issuperset(roles)):
            return None
        unknown = ", ".join(visible(role) for role in roles if role not in known)
        return (
            (f"There is no role {unknown}. " if unknown else "")
            + f"Say pair {code} roles=… for somebody new (there are {', '.join(sorted(known))}), or pair {code} as NAME for"
            " somebody whom I know."
        )

    async def phone(self, what: str, given: str) -> str:
        if what == "link":
            return await texting.begin_link(self.tx, self.deps, self.person, given)
        if what == "confirm":
            return await texting.confirm_link(self.tx, self.deps, self.person, given)
        return await texting.numbers(self.tx, self.deps, self.person)
