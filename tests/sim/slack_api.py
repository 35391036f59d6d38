"""The Web API of the Slack stand-in: reads a request as Slack does, refuses what Slack refuses, answers in its shape.

Order of judging: planned fault, method, token, arguments, effect (slack_methods). Everything is journalled. What our
app should not have sent is also collected as a violation, with the answer that Slack would give.
"""

import json
from typing import TYPE_CHECKING

from aiohttp import web

from tests.sim import slack_files as files
from tests.sim.faults import Kind
from tests.sim.slack_agents import AGENT_METHODS, SCOPES
from tests.sim.slack_check import argument_problems, block_problems, decode, fixture
from tests.sim.slack_methods import EFFECTS, Refused, with_ids
from tests.sim.slack_streams import STREAMS
from tests.sim.slack_world import RESPONSE_URL_LIFE_S, RESPONSE_URL_USES, Body, Message
from tests.sim.violation import Violation

if TYPE_CHECKING:
    from tests.sim.slack import SlackSim

# Refusals that only a fault of the request itself can bring about; the rest may be the world's doing.
REQUEST_FAULTS = {
    "invalid_arguments",
    "invalid_blocks",
    "invalid_chunks",
    "missing_recipient_team_id",
    "missing_recipient_user_id",
    "streaming_state_conflict",
    "invalid_metadata_format",
    "markdown_text_conflict",
    "metadata_too_large",
    "msg_too_long",
    "no_text",
    "unknown_method",
}


class SlackApi:
    """Routes: /api/{method}, /response/{id} (response_url), /upload/{id} and /files-pri/… (file contents)."""

    def __init__(self, sim: "SlackSim") -> None:
        self.sim = sim

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/{method}", self.call),
            web.get("/api/{method}", self.call),
            web.post("/response/{id}", self.respond),
            web.post("/upload/{id}", self.upload),
            web.get("/files-pri/{id}/{rest:.+}", self.download),
        ]

    async def call(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        args = await _arguments(request)
        header = request.headers.get("Authorization", "")
        token = header.removeprefix("Bearer ") if header else args.pop("token", "")
        args.pop("token", None)
        args = decode(method, args)
        return await self.sim.line.call(request, method, args, lambda: self._carry_out(method, token, args), _refusal)

    async def _carry_out(self, method: str, token: str, args: Body) -> web.Response:
        answer = self._answer(method, token, args)
        self.sim.journal.write("slack", "in", method, args, 200, answer.get("error", ""))
        if answer["ok"]:
            self.sim.after_call(method, answer)
        return web.json_response(answer, headers={"x-oauth-scopes": ",".join(self.sim.scopes)})

    def _answer(self, method: str, token: str, args: Body) -> Body:
        try:
            return {"ok": True} | self._effect(method, token, args)
        except Refused as refusal:
            if refusal.error in REQUEST_FAULTS:
                problem = "; ".join([refusal.error, *refusal.messages])
                self.sim.violations.append(Violation("slack", method, problem, args))
            answer: Body = {"ok": False, "error": refusal.error}
            if refusal.messages:
                # Slack repeats the first message per problem in "errors" for blocks; SDKs read response_metadata.
                answer["response_metadata"] = {"messages": refusal.messages}
            return answer

    def _effect(self, method: str, token: str, args: Body) -> Body:
        world = self.sim.world
        if method not in fixture("slack_requests")["methods"]:
            raise Refused("unknown_method")
        if not token:
            raise Refused("not_authed")
        if token not in (self.sim.bot_token, self.sim.app_token):
            raise Refused("invalid_auth")
        if (token == self.sim.app_token) != (method == "apps.connections.open"):
            raise Refused("not_allowed_token_type")
        if method in self.sim.lacks:
            raise Refused(self.sim.lacks[method])
        if SCOPES.get(method, "chat:write") not in self.sim.scopes:
            raise Refused("missing_scope")
        refused, ignored = argument_problems(method, args)
        self.sim.violations += [Violation("slack", method, problem, args) for problem in ignored]
        if refused:
            # chat.* names a lack of content by its own error.
            content = {"text", "blocks", "attachments", "markdown_text"}
            lacks_text = method.startswith("chat.") and not content & {name for name, value in args.items() if value}
            raise Refused("no_text" if lacks_text and args.get("channel") else "invalid_arguments", refused)
        match method:
            case "auth.test":
                return {
                    "url": f"https://{world.team_domain}.slack.com/",
                    "team": world.team_domain,
                    "user": world.members[world.bot_user].name,
                    "team_id": world.team,
                    "user_id": world.bot_user,
                    "bot_id": world.bot_id,
                    "is_enterprise_install": False,
                    **({"enterprise_id": world.enterprise} if world.enterprise else {}),
                }
            case "apps.connections.open":
                return {"url": self.sim.socket_url()}
            case "files.getUploadURLExternal":
                if args["length"] <= 0:
                    raise Refused("invalid_arguments", ["[ERROR] must be greater than 0 [json-pointer:/length]"])
                file_id = f"F{world.number():08d}"
                world.uploads[file_id] = {"name": args["filename"], "length": args["length"]}
                return {"upload_url": f"{self.sim.base_url}/upload/{file_id}", "file_id": file_id}
            case "files.info":
                return files.info(self.sim, args)
            case _:
                return (EFFECTS | STREAMS | AGENT_METHODS)[method](world, args)

    async def download(self, request: web.Request) -> web.StreamResponse:
        return await files.download(self.sim, request)

    async def upload(self, request: web.Request) -> web.StreamResponse:
        upload = self.sim.world.uploads.get(request.match_info["id"])
        if upload is None:
            return web.Response(status=404, text="unknown upload")
        content = await request.read()
        given = {"id": request.match_info["id"], "bearer": "Authorization" in request.headers}
        return await self.sim.line.call(
            request, "upload", given, lambda: self._uploaded(upload, given, content), _refusal
        )

    async def _uploaded(self, upload: Body, given: Body, content: bytes) -> web.Response:
        is_whole = len(content) == upload["length"]
        self.sim.journal.write("slack", "in", "upload", given, 200 if is_whole else 400)
        if not is_whole:
            return web.Response(status=400, text="not the length that was announced")
        upload["content"] = content
        return web.Response(text=f"OK - {len(content)}")

    async def respond(self, request: web.Request) -> web.StreamResponse:
        body: Body = await request.json()
        key = request.match_info["id"]
        return await self.sim.line.call(request, "response_url", body, lambda: self._responded(key, body), _refusal)

    async def _responded(self, key: str, body: Body) -> web.Response:
        """A response_url: five uses in thirty minutes; writes to one person unless told otherwise."""
        world, address = self.sim.world, self.sim.world.response_urls.get(key)
        note = ""
        if address is None or world.clock.monotonic() - address.at > RESPONSE_URL_LIFE_S:
            note = "expired_url"
        elif address.uses >= RESPONSE_URL_USES:
            note = "used_url"
        elif problems := block_problems(body.get("blocks") or []):
            note = "invalid_blocks"
            self.sim.violations.append(Violation("slack", "response_url", "; ".join(problems), body))
        self.sim.journal.write("slack", "in", "response_url", body, 404 if note else 200, note)
        if address is None or note:
            return web.json_response({"ok": False, "error": note}, status=404)
        address.uses += 1
        pressed = world.find(address.channel, address.message_ts or "")
        text, blocks = body.get("text", ""), with_ids(world, body.get("blocks") or [])
        if body.get("delete_original") and pressed is not None:
            pressed.deleted = True
        elif body.get("replace_original") and pressed is not None:
            pressed.replace(text, blocks)
        else:
            message = Message(address.channel, world.ts(), world.bot_user, text, blocks, body.get("thread_ts"))
            message.bot_id = world.bot_id
            message.ephemeral_to = None if body.get("response_type") == "in_channel" else address.user
            world.posted.append(message)
        return web.Response(text="ok")


async def _arguments(request: web.Request) -> Body:
    args: Body = dict(request.query)
    if request.content_type == "application/json":
        try:
            body = json.loads(await request.text() or "{}")
        except ValueError:
            body = {}
        return args | (body if isinstance(body, dict) else {})
    return args | {name: value for name, value in (await request.post()).items() if isinstance(value, str)}


def _refusal(fault: Kind) -> web.Response:
    headers = {"Retry-After": str(fault.retry_after_s)} if fault.retry_after_s is not None else {}
    error = "ratelimited" if fault.code == 429 else "internal_error"
    return web.json_response({"ok": False, "error": error}, status=fault.code, headers=headers)
