"""`policy`: do the rules say what they should, why was this judged so, and what would other rules have said.

Reads only: the same pure function that stands before every action, asked without doing anything.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import yaml
from pydantic import TypeAdapter, ValidationError

from bot.cli.ground import end, servers, tell
from core import organisation
from core.db import Pool, open_pool
from core.deciding import SKILL_GONE
from core.models import SkillManifest
from core.organisation import Organisation, OrganisationError
from core.recorded import Case, Change, Recorded, Result, changes, in_words, judge, try_case, verdict
from core.store import approvals, clock, recorded, skills, tasks
from core.variables import asks_of_the_past

policy_app = typer.Typer(no_args_is_help=True, help="What the rules of sayso.yaml say, and would have said.")
ACTIONS_MOST = 10_000
T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json")]


@policy_app.command("test")
def try_table(
    cases: Annotated[Path, typer.Argument(help="A YAML list of cases (docs/policy.md).")],
    config: Annotated[Path | None, typer.Option(help="Other rules than those of sayso.yaml.")] = None,
    as_json: AsJson = False,
) -> None:
    """Try a table of cases; exit 1 when the rules say something else than expected."""
    table = _cases(cases)

    async def run(db: Pool, mine: Organisation, manifests: Mapping[str, SkillManifest]) -> list[Result]:
        now = await clock.now(db)
        return [try_case(case, manifests, mine, now) for case in table]

    results = _with_database(run, config)
    wrong = [result for result in results if result.wrong]
    if as_json:
        typer.echo(json.dumps([_result(result) for result in results], ensure_ascii=False))
    else:
        for result in wrong:
            said = in_words(result.answer) if result.answer else ""
            typer.echo(f"{result.case.name}: {'; '.join(result.wrong)}" + (f"\n    it says: {said}" if said else ""))
        typer.echo(f"{len(results) - len(wrong)} of {len(results)} as expected")
    if wrong:
        raise typer.Exit(1)


@policy_app.command()
def explain(task: int, step: int, as_json: AsJson = False) -> None:
    """Why a step was allowed, asked about or refused: what it was, where its arguments came from, what the rules say."""

    async def run(
        db: Pool, mine: Organisation, manifests: Mapping[str, SkillManifest]
    ) -> tuple[Recorded, list[dict[str, Any]], dict[str, Any]] | None:
        one = await recorded.action(db, manifests, task, step)
        whole = await tasks.whole(db, task)
        if one is None or whole is None:
            return None
        return one, _asks(await approvals.of_task(db, task), task, step), whole

    found, mine, manifests = _with_rules(run, None)
    if found is None:
        end(f"There is no action in step {step} of task {task} whose arguments are known.")
    one, asked, whole = found
    manifest = manifests.get(one.action.skill)
    answer = judge(one, manifest, mine) if manifest else None
    if as_json:
        body = {
            "task": str(task), "step": step, "skill": one.action.skill, "args": one.action.args, "became": one.was,
            "origins": {name: o.model_dump(mode="json") for name, o in one.provenance.origins.items()},
            "tainted": one.provenance.tainted, "proposed": _proposed(whole, step),
            "now": answer.model_dump(mode="json") if answer else None,
            "asked": asked,
        }  # fmt: skip
        typer.echo(json.dumps(body, ensure_ascii=False))
        return
    lines = [
        f"step {step} of task {task}: {one.action.skill}, {one.was}",
        f"asked for by {one.requester.key}: {one.goal}",
    ]
    if said := _proposed(whole, step):
        lines.append(f"proposed by {said}")
    for name, value in one.action.args.items():
        origin = one.provenance.origins.get(name)
        lines.append(f"  {name} = {json.dumps(value, ensure_ascii=False)[:200]}: {_where(origin)}")
    for a in asked:
        lines.append(f"then: asked by rule {a['rule']!r}, {'; '.join(a['reasons'] or [])} ({a['status']})")
    lines.append(f"now: {in_words(answer)}" if answer else f"now: {SKILL_GONE}")
    tell(*lines)


@policy_app.command("what-if")
def what_if(
    rules: Annotated[Path, typer.Argument(help="Another sayso.yaml.")],
    days: Annotated[int, typer.Option(min=1, max=365, help="How far back.")] = 30,
    as_json: AsJson = False,
) -> None:
    """What other rules would have said to what was done lately: which actions would now ask, pass or be refused."""
    other = _rules(rules)

    async def run(db: Pool, mine: Organisation, manifests: Mapping[str, SkillManifest]) -> tuple[int, list[Change]]:
        found = await recorded.actions(db, manifests, days, ACTIONS_MOST)
        return len(found), changes(found, manifests, mine, other)

    (count, differing), mine, _ = _with_rules(run, None)
    forgotten = sorted(asks_of_the_past(mine) | asks_of_the_past(other))
    if as_json:
        body = {"actions": count, "changes": [_change(one) for one in differing], "not_known": forgotten}
        typer.echo(json.dumps(body, ensure_ascii=False))
        return
    for one in differing:
        r = one.recorded
        tell(f"task {r.task} step {r.step}, {r.action.skill} for {r.requester.key} ({r.was})")
        tell(f"    was: {in_words(one.old)}", f"    now: {in_words(one.new)}")
    moves = [f"{verdict(one.old)} → {verdict(one.new)}" for one in differing]
    tally = ", ".join(f"{moves.count(move)} {move}" for move in sorted(set(moves)))
    typer.echo(
        f"{count} actions of the last {days} days, {len(differing)} judged differently"
        + (f": {tally}" if tally else "")
    )
    if forgotten:
        typer.echo(f"What {', '.join(forgotten)} was then is not known any more: taken as 0 or false, on both sides.")


# ---------------------------------------------------------------- parts


def _cases(path: Path) -> tuple[Case, ...]:
    try:
        return TypeAdapter(tuple[Case, ...]).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")) or [])
    except (OSError, yaml.YAMLError) as error:
        end(f"{path} cannot be read: {error}", 2)
    except ValidationError as error:
        wrong = "; ".join(f"{_place(e['loc'])}: {e['msg']}" for e in error.errors())
        end(f"{path.name}: {wrong}", 2)


def _place(loc: tuple[int | str, ...]) -> str:
    """`case 2, expect`; the whole file where it is no list."""
    if not loc or not isinstance(loc[0], int):
        return "the file"
    return ", ".join([f"case {loc[0] + 1}", *([".".join(map(str, loc[1:]))] if loc[1:] else [])])


def _rules(path: Path | None) -> Organisation:
    if path is not None and not path.is_file():
        end(f"there is no file {path}", 2)
    try:
        return organisation.load(path) if path is not None else Organisation()
    except OrganisationError as error:
        end(str(error), 2)


def _with_database(
    run: Callable[[Pool, Organisation, Mapping[str, SkillManifest]], Awaitable[T]], config: Path | None
) -> T:
    return _with_rules(run, config)[0]


def _with_rules(
    run: Callable[[Pool, Organisation, Mapping[str, SkillManifest]], Awaitable[T]], config: Path | None
) -> tuple[T, Organisation, Mapping[str, SkillManifest]]:
    async def opened() -> tuple[T, Organisation, Mapping[str, SkillManifest]]:
        with servers() as ground:
            mine = _rules(config) if config else organisation.load(ground.settings.config_path)
            db = await open_pool(ground.settings.database_dsn(), most=1)
            try:
                manifests = await skills.manifests(db)
                if not manifests:
                    end("No worker has published its skills here yet; start one first (./sayso up).")
                return await run(db, mine, manifests), mine, manifests
            finally:
                await db.close()

    try:
        return asyncio.run(opened())
    except OrganisationError as error:
        end(str(error), 2)


def _result(result: Result) -> dict[str, Any]:
    answer = result.answer.model_dump(mode="json") if result.answer else None
    return {"name": result.case.name, "ok": not result.wrong, "wrong": list(result.wrong), "answer": answer}


def _change(one: Change) -> dict[str, Any]:
    r = one.recorded
    return {
        "task": str(r.task), "step": r.step, "skill": r.action.skill, "requester": r.requester.key, "became": r.was,
        "was": one.old.model_dump(mode="json"), "now": one.new.model_dump(mode="json"),
    }  # fmt: skip


def _asks(found: Sequence[Mapping[str, Any]], task: int, n: int) -> list[dict[str, Any]]:
    """How the step was asked about, alone or as an item of a card with several: by which rule, why, and what became of it."""
    asks = []
    for approval in found:
        items = approval["items"] if isinstance(approval["items"], list) else []
        for item in items:
            if (str(item.get("task")), item.get("step")) == (str(task), n):
                card = item.get("card") or approval["card"] or {}
                asks.append({"status": approval["status"], "rule": card.get("rule"), "reasons": card.get("reasons")})
    return asks


def _proposed(task: Mapping[str, Any], n: int) -> str:
    """The turn that proposed the step, in its own words, with what else it proposed."""
    for turn in task["steps"]:
        result = turn["result"] if isinstance(turn["result"], dict) else {}
        if turn["kind"] in ("plan", "think") and n in (result.get("steps") or []):
            others = [
                f"{s['n']}: {s['skill']}"
                for s in task["steps"]
                if s["n"] in result["steps"] and s["n"] != n and s["skill"]
            ]
            beside = f"; beside it {', '.join(others)}" if others else ""
            return f"the turn in step {turn['n']}, which said: {result.get('say') or 'nothing'}{beside}"
    return ""


def _where(origin: Any) -> str:
    if origin is None:
        return "nobody's"
    words = {
        "requester": "the requester's own words",
        "config": "configuration",
        "trusted": "a plan made before anything of others was read, or a trusted skill",
        "untrusted": "content of others",
    }
    from_step = f", step {origin.step}" if origin.step else ""
    return f"{words[str(origin.origin)]}{from_step}{f' ({origin.note})' if origin.note else ''}"
