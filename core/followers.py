"""Takes tasks out of the private chats of people who followed them and may no longer see them.

Rights come from sayso.yaml, which is read when a process starts: that is when this is looked at. What a chat shows stays
there; it is told no more. `core.following` decides who may follow in the first place.
"""

from __future__ import annotations

from core.deps import Deps
from core.organisation import sees_all, sees_conversation
from core.store import people, tasks


async def let_go(deps: Deps) -> int:
    """How many places open tasks were taken out of."""
    gone = 0
    for task, person, conversation in await tasks.followed(deps.db):
        follower = await people.by_id(deps.db, person)
        if follower is not None and task in await tasks.visible_among(
            deps.db,
            [task],
            follower.id,
            sees_all=sees_all(deps.organisation, follower.roles),
            sees_conversation=sees_conversation(deps.organisation, follower.roles),
        ):
            continue
        await tasks.unfollow(deps.db, task, conversation)
        gone += 1
    return gone
