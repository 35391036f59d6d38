"""Files of the Slack stand-in: shared by people, described by files.info, downloaded with the app's token.

As with Slack, whoever may not read gets its login page with status 200, and a clip is written down by Slack itself some
time after it was shared.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.sim.faults import Kind
from tests.sim.slack_methods import Refused
from tests.sim.slack_world import Body, World

if TYPE_CHECKING:
    from tests.sim.slack import SlackSim

LOGIN_PAGE = (
    "<!DOCTYPE html><html lang='en'><head><title>Slack</title></head><body>Sign in to your workspace</body></html>"
)


@dataclass
class SharedFile:
    """`transcripts` are what files.info tells of a clip, one an answer, the last one from then on. `more`: further fields."""

    name: str
    content: bytes
    mimetype: str = "application/octet-stream"
    subtype: str = ""
    user: str = ""
    transcripts: list[Body] = field(default_factory=list)
    vtt: str = ""
    more: Body = field(default_factory=dict)
    id: str = ""

    def wire(self, base_url: str, transcript: Body | None = None) -> Body:
        url = f"{base_url}/files-pri/{self.id}"
        body: Body = {
            "id": self.id,
            "name": self.name,
            "title": self.name,
            "mimetype": self.mimetype,
            "user": self.user,
            "mode": "hosted",
            "is_external": False,
            "size": len(self.content),
            "url_private": f"{url}/file",
            "url_private_download": f"{url}/download/file",
        }
        body |= {"subtype": self.subtype} if self.subtype else {}
        body |= {"transcription": transcript} if transcript else {}
        return body | ({"vtt": f"{url}/file.vtt"} if self.vtt else {}) | self.more


def clip(content: bytes, *transcripts: Body, vtt: str = "") -> SharedFile:
    """A voice clip recorded in Slack, whose type is that of a video without pictures."""
    return SharedFile("audio_message.m4a", content, "video/mp4", "slack_audio", transcripts=list(transcripts), vtt=vtt)


def share(world: World, user: str, files: tuple[SharedFile, ...]) -> None:
    for one in files:
        one.id, one.user = one.id or f"F{world.number():08d}", one.user or user
        world.files[one.id] = one


def info(sim: "SlackSim", args: Body) -> Body:
    found: Any = sim.world.files.get(args["file"])
    if found is None:
        raise Refused("file_not_found")
    told = found.transcripts
    transcript = (told.pop(0) if len(told) > 1 else told[0]) if told else None
    return {"file": found.wire(sim.base_url, transcript), "comments": []}


async def download(sim: "SlackSim", request: web.Request) -> web.StreamResponse:
    """The bytes, for the app's token; the login page for everybody else."""
    given = {"id": request.match_info["id"]}
    fault = sim.faults.meet("download")
    found: Any = sim.world.files.get(given["id"])
    early = await sim.line.before(fault, request, "download", given, _refusal)
    if early is not None:
        return early
    sim.journal.write("slack", "in", "download", given, note=fault.name if fault else "")
    if found is None:
        return web.Response(status=404)
    if request.headers.get("Authorization") != f"Bearer {sim.bot_token}" or (fault and fault.name == "login_page"):
        return web.Response(text=LOGIN_PAGE, content_type="text/html")
    content = found.vtt.encode() if request.path.endswith(".vtt") else found.content
    if fault is not None and fault.name == "cut_short":
        return await cut_short(request, content)
    answer = web.Response(body=content, content_type=found.mimetype or "application/octet-stream")
    return await sim.line.after(fault, request, answer)


def _refusal(fault: Kind) -> web.Response:
    headers = {"Retry-After": str(fault.retry_after_s)} if fault.retry_after_s is not None else {}
    return web.Response(status=fault.code, headers=headers)


async def cut_short(request: web.Request, content: bytes) -> web.StreamResponse:
    """Half of what was announced, then nothing."""
    response = web.StreamResponse(headers={"Content-Length": str(len(content))})
    await response.prepare(request)
    await response.write(content[: len(content) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
