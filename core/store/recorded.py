"""Actions as they were recorded, with everything that policy looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core import provenance, templates
from core.db import Db
from core.models import Action, ArgumentOrigin, ConversationRef, Origin, Requester, SkillManifest
from core.recorded import Recorded, defaults

_SELECT = """
select s.task_id, s.n, s.skill, s.args, s.origins, s.status, s.outcome, s.effect_class, t.goal, t.created_at,
       p.id, p.key, p.name, p.roles, p.is_service, coalesce(c.channel, '') as channel, coalesce(c.external_id, '') as place,
       coalesce((select e.action from effects e where e.task_id = s.task_id and e.n = s.n order by e.gen desc limit 1),
                (select i -> 'action' from approvals a,
                        jsonb_array_elements(case jsonb_typeof(a.items) when 'array' then a.items else '[]' end) i
                  where a.task_id = s.task_id and a.kind in ('action', 'batch', 'plan') and i ->> 'task' = s.task_id::text
                    and i ->> 'step' = s.n::text order by a.created_at desc limit 1)) as action,
       coalesce((select jsonb_agg(i.body order by i.id) from inbound i where (i.id = t.inbound_id or i.task_id = t.id)
                    and i.principal_id = t.requester_id and i.kind = 'message'), '[]') as own_words,
       coalesce((select jsonb_object_agg(x.n, jsonb_build_object('skill', x.skill, 'result', x.result, 'args', x.args,
                    'pure', x.effect_class = 'pure')) from steps x
                  where x.task_id = s.task_id and x.n < s.n and x.kind = 'act' and x.status = 'succeeded'), '{}') as before
  from steps s join tasks t on t.id = s.task_id join principals p on p.id = t.requester_id
  left join conversations c on c.id = t.conversation_id
 where s.kind = 'act'
"""


async def actions(db: Db, manifests: Mapping[str, SkillManifest], days: int, limit: int) -> list[Recorded]:
    """The newest actions of the last days, newest first. Those whose arguments cannot be told any more are left out."""
    rows = await db.fetch(
        _SELECT + " and t.created_at > now() - make_interval(days => $1) order by s.task_id desc, s.n desc limit $2",
        days, limit,
    )  # fmt: skip
    return [one for row in rows if (one := _recorded(row, manifests)) is not None]


async def of_task(db: Db, manifests: Mapping[str, SkillManifest], task: int) -> list[Recorded]:
    """All actions of a task."""
    rows = await db.fetch(_SELECT + " and s.task_id = $1 order by s.n", task)
    return [one for row in rows if (one := _recorded(row, manifests)) is not None]


async def action(db: Db, manifests: Mapping[str, SkillManifest], task: int, n: int) -> Recorded | None:
    """One of them; None when the step is no action, or its arguments are not known yet."""
    row = await db.fetchrow(_SELECT + " and s.task_id = $1 and s.n = $2", task, n)
    return _recorded(row, manifests) if row else None


def _recorded(row: Mapping[str, Any], manifests: Mapping[str, SkillManifest]) -> Recorded | None:
    manifest = manifests.get(row["skill"])
    try:
        args, origins = _resolved(row, manifests)
    except templates.BadReference:
        return None
    if row["action"] is not None:
        frozen = Action.model_validate(row["action"])
    elif manifest is not None:
        frozen = Action(
            skill=row["skill"], version=manifest.version, schema_hash=manifest.schema_hash,
            args=defaults(manifest) | args, task_id=str(row["task_id"]), step=row["n"],
        )  # fmt: skip
    else:
        return None
    is_tainted = provenance.TURN in origins and row["effect_class"] != "pure"
    read = [one["args"] for one in row["before"].values() if one["pure"]] if is_tainted else []
    schema = manifest.args_schema if manifest else None
    return Recorded(
        task=row["task_id"],
        step=row["n"],
        action=frozen,
        provenance=provenance.label(frozen.args, origins, row["own_words"], schema, read),
        requester=Requester(
            id=str(row["id"]), key=row["key"], name=row["name"], roles=tuple(row["roles"]), is_service=row["is_service"]
        ),
        conversation=ConversationRef(channel=row["channel"], id=row["place"]),
        goal=row["goal"],
        at=row["created_at"],
        was=row["outcome"] or row["status"],
    )


def _resolved(
    row: Mapping[str, Any], manifests: Mapping[str, SkillManifest]
) -> tuple[dict[str, Any], dict[str, ArgumentOrigin]]:
    before = {int(n): one for n, one in row["before"].items()}
    origins = {name: ArgumentOrigin.model_validate(one) for name, one in row["origins"].items()}
    brought = {n: _brought(n, one["skill"], manifests) for n, one in before.items()}
    return templates.resolve(row["args"], {n: one["result"] or {} for n, one in before.items()}, origins, brought)


def _brought(n: int, skill: str, manifests: Mapping[str, SkillManifest]) -> ArgumentOrigin:
    trusted = skill in manifests and manifests[skill].output_trusted
    return ArgumentOrigin(origin=Origin.TRUSTED if trusted else Origin.UNTRUSTED, step=n, note=skill)
