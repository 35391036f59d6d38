"""Alert rules as they stand, and their messages: one commit for both, so that each is said once, over restarts."""

from __future__ import annotations

from collections.abc import Sequence

from core import alerts, cards, figures
from core.alerts import Standing
from core.db import Db, transaction
from core.expressions import BadExpression
from core.models import Place
from core.organisation.schema import Alert, place_parts
from core.store import conversations, gauges


async def look(db: Db, rules: Sequence[Alert]) -> list[str]:
    """Judge every rule by the gauges of now; what there is to say goes into the outbox. Answers the texts."""
    values = figures.flat(await gauges.read(db))
    said = []
    async with transaction(db) as tx:
        now = await tx.fetchval("select now()")
        rows = await tx.fetch("select key, since, fired_at, clear_since, seen_at from alerts order by key for update")
        known = {r["key"]: Standing(r["since"], r["fired_at"], r["clear_since"], r["seen_at"]) for r in rows}
        for key, rule in {alerts.key_of(rule): rule for rule in rules}.items():
            try:
                is_so, broken = alerts.holds(rule, values), ""
            except BadExpression as error:  # a condition that cannot be judged is no all-clear: it speaks
                is_so, broken = True, f" (it cannot be evaluated: {error})"
            standing, says = alerts.after(known.pop(key, Standing()), is_so, now, rule.for_)
            await tx.execute(
                "insert into alerts (key, since, fired_at, clear_since, seen_at) values ($1, $2, $3, $4, $5)"
                " on conflict (key) do update set since = excluded.since, fired_at = excluded.fired_at,"
                " clear_since = excluded.clear_since, seen_at = excluded.seen_at",
                key, standing.since, standing.fired_at, standing.clear_since, now,
            )  # fmt: skip
            if says is not None:
                channel, external_id = place_parts(rule.to)
                place = await conversations.ensure(tx, Place(channel=channel, external_id=external_id))
                said.append(cards.alert_text(rule, values, says) + broken)
                await conversations.say(tx, place, said[-1])
        # Rules that are no longer in the file.
        await tx.execute("delete from alerts where key = any ($1)", list(known))
    return said
