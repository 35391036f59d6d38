"""What Slack last said about who is in its user groups. See migrations/0011_slack_groups.sql for what that is good for."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from core.db import Db
from core.store.approvals import parse_id


async def to_ask_about(db: Db, person: int, approvals: Collection[str]) -> list[str]:
    """The groups by which alone the person could decide one of these, and of which nothing was heard a moment ago."""
    rows = await db.fetch(
        "select stale_slack_groups(array(select distinct jsonb_array_elements_text(a.approvers -> 'slack_usergroups')"
        " from approvals a where a.id = any ($2) and a.status = 'pending'"
        " and not is_eligible($1, a.approvers - 'slack_usergroups', a.requester_id))) as name",
        person, [key for a in approvals if (key := parse_id(a))],
    )  # fmt: skip
    return [r["name"] for r in rows]


async def older_than(db: Db, groups: Sequence[str], seconds: float) -> list[str]:
    """Those of the groups whose last good look is that long ago."""
    rows = await db.fetch(
        "select w.name from unnest($1::text[]) as w (name) where not exists (select from slack_groups g"
        " where g.usergroup = w.name and g.error = '' and g.looked_at > sayso_now() - make_interval(secs => $2))",
        list(groups), seconds,
    )  # fmt: skip
    return [r["name"] for r in rows]


async def remember(db: Db, group: str, members: Sequence[str]) -> None:
    """`members` are external ids, as identities have them."""
    await db.execute(
        "insert into slack_groups (usergroup, members, looked_at) values ($1, $2, sayso_now()) on conflict (usergroup)"
        " do update set members = excluded.members, looked_at = excluded.looked_at, error = ''",
        group, list(members),
    )  # fmt: skip


async def not_known(db: Db, group: str, why: str) -> None:
    """A look that failed: whom to ask stays as it was, and nobody decides by it."""
    await db.execute(
        "insert into slack_groups (usergroup, error) values ($1, $2)"
        " on conflict (usergroup) do update set error = excluded.error",
        group, why,
    )  # fmt: skip


async def changed(db: Db, group: str) -> bool:
    """Slack says that somebody came or went: what was remembered is old. False: the group is none of ours."""
    done = await db.execute("update slack_groups set looked_at = null where usergroup = $1", group)
    return str(done).endswith(" 1")
