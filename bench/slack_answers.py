"""Slack's answers for `bench traffic`: takes every call at once and says yes, so that what is measured is Sayso.

It counts what was posted by the id that Sayso puts into a message's metadata; GET /counted tells. It checks nothing: whether
the calls are right is what the stand-in of the tests is for.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections import Counter

from aiohttp import web


class Answers:
    def __init__(self) -> None:
        self.posted: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._ts = itertools.count(1)

    async def call(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        body = await request.json() if request.content_type == "application/json" else dict(await request.post())
        self.calls[method] += 1
        answer = {
            "ok": True,
            "team_id": "T0ACME",
            "team": "acme",
            "user_id": "U0SAYSO",
            "user": "sayso",
            "bot_id": "B0SAYSO",
        }
        if method == "chat.postMessage":
            metadata = body.get("metadata") or {}
            metadata = json.loads(metadata) if isinstance(metadata, str) else metadata
            self.posted[str((metadata.get("event_payload") or {}).get("id"))] += 1
            answer |= {"channel": str(body["channel"]), "ts": f"1800000000.{next(self._ts):06d}"}
        if method == "conversations.open":
            answer |= {"channel": {"id": "D" + str(body["users"])[1:]}}  # type: ignore[dict-item]  # one of many shapes
        return web.json_response(answer)

    async def counted(self, _: web.Request) -> web.Response:
        doubled = sum(count - 1 for count in self.posted.values())
        return web.json_response({"posted": len(self.posted), "doubled": doubled, "calls": dict(self.calls)})


def main(port: int) -> None:
    answers = Answers()
    app = web.Application()
    app.add_routes([web.post("/api/{method}", answers.call), web.get("/counted", answers.counted)])
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
