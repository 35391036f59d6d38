"""A task's page: its drawing, and the hands that can be laid on it without a script."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from bot.web.graph import drawn
from core import intake
from core.models import PlannedStep
from core.store import tasks
from core.store.people import Principal
from tests.test_web_pages import HOSTILE, forms
from tests.web_house import House


def step(n: int, *needs: int, status: str = "succeeded", skill: str = "files.read") -> dict[str, Any]:
    return {"n": n, "needs": list(needs), "status": status, "skill": skill, "title": f"Read {n}"}


def test_every_line_of_a_drawing_leads_down_and_no_two_boxes_touch() -> None:
    steps = [step(1), step(2, 1), step(3, 1, skill="b"), step(4, 2, skill="c"), step(5, 1, 4), step(6, 3, 5)]
    drawing = drawn(steps)
    assert drawing is not None
    at = {box.step: box for box in drawing.boxes}
    assert all(at[need].y < at[s["n"]].y for s in steps for need in s["needs"])
    assert len(drawing.lines) == sum(len(s["needs"]) for s in steps)
    places = [(box.x, box.y) for box in drawing.boxes]
    assert all(abs(a[0] - b[0]) >= 168 for a in places for b in places if a != b and a[1] == b[1])
    assert all(x >= 0 and x + 168 <= drawing.width and y + 52 <= drawing.height for x, y in places)


def test_a_fan_of_twenty_is_one_box_that_shows_what_matters_most() -> None:
    fan = [step(n, 1, status="awaiting_approval" if n == 7 else "succeeded") for n in range(2, 22)]
    drawing = drawn([step(1), *fan, step(22, *range(2, 22))])
    assert drawing is not None
    assert [box.label for box in drawing.boxes] == ["1 Read 1", "20 × files.read", "22 Read 22"]
    assert drawing.boxes[1].status == "awaiting_approval"
    assert drawing.boxes[1].says == "Steps 2 to 21, files.read: 1 awaiting approval, 19 succeeded"


@pytest.mark.parametrize("steps", [[], [step(1)]])
def test_what_a_drawing_would_not_explain_is_not_drawn(steps: list[dict[str, Any]]) -> None:
    assert drawn(steps) is None


async def planned(house: House, ann: Principal, title: str = "Read it") -> int:
    plan = [
        PlannedStep(n=1, kind="act", skill="files.list", title=title),
        PlannedStep(n=2, kind="wait", args={"event": "paid"}, needs=(1,), title="Wait for the money"),
    ]
    made = await tasks.create(house.db, requester=ann.id, goal="see", kind="plan", steps=plan, actor=ann.actor)
    assert made is not None
    return made


async def form(browser: httpx.AsyncClient, path: str, action: str) -> dict[str, str]:
    return forms(await browser.get(path), action)[0]


async def test_the_page_draws_the_steps_and_hostile_titles_stay_text(house: House) -> None:
    ann = await house.person("ann", "owner")
    browser = await house.browser(ann)
    for title in HOSTILE:
        page = await browser.get(f"/tasks/{await planned(house, ann, title)}")
        [svg] = re.findall(r"<svg.*?</svg>", page.text, re.DOTALL)
        assert "<script" not in svg and "<img" not in svg and 'onmouseover="' not in svg
        assert svg.count("<rect") == 2 and 'href="#step-2"' in svg


async def test_urgency_is_set_from_the_page_and_by_nobody_who_may_only_look(house: House) -> None:
    ann = await house.person("ann", "owner")
    task = await planned(house, ann)
    browser = await house.browser(ann)
    fields = await form(browser, f"/tasks/{task}", f"/tasks/{task}/urgency")
    page = await browser.post(f"/tasks/{task}/urgency", data=fields | {"level": "urgent"})
    assert "urgent" in page.text
    assert await house.db.fetchval("select priority from tasks where id = $1", task) == 0
    assert (await browser.post(f"/tasks/{task}/urgency", data=fields | {"level": "now"})).status_code == 422
    eve = await house.browser(await house.person("eve"))
    page = await eve.get("/")
    stolen = {**fields, "csrf": forms(page, "/chat")[0]["csrf"]}
    assert (await eve.post(f"/tasks/{task}/urgency", data=stolen | {"level": "low"})).status_code == 404
    assert await house.db.fetchval("select priority from tasks where id = $1", task) == 0


async def test_words_for_a_task_reach_it_once(house: House) -> None:
    ann = await house.person("ann", "owner")
    task = await planned(house, ann)
    browser = await house.browser(ann)
    fields = await form(browser, f"/tasks/{task}", f"/tasks/{task}/tell")
    for _ in range(3):
        page = await browser.post(f"/tasks/{task}/tell", data=fields | {"text": "leave the logs", "priority": "normal"})
        assert page.status_code == 200
    found = await house.db.fetch("select body from signals where task_id = $1", task)
    assert [row["body"]["text"] for row in found] == ["leave the logs"]
    page = await browser.post(f"/tasks/{task}/tell", data=fields | {"text": "  "})
    assert "There is nothing in it" in page.text


async def test_a_task_of_ones_own_begins_from_a_step_with_its_arguments_changed(house: House) -> None:
    ann = await house.person("ann", "owner")
    task = await planned(house, ann)
    await house.db.execute("update steps set status = 'running', worker_id = 1 where task_id = $1 and n = 1", task)
    await house.db.execute(
        "update steps set status = 'succeeded', outcome = 'ok', worker_id = null, result = '{}', finished_at = now()"
        " where task_id = $1 and n = 1", task,
    )  # fmt: skip
    browser = await house.browser(ann)
    page = await browser.get(f"/tasks/{task}/fork?step=1")
    assert "Begin again from step 1" in page.text
    fields = forms(page, f"/tasks/{task}/fork")[0]
    for _ in range(2):
        answer = await browser.post(f"/tasks/{task}/fork", data=fields | {"step": "1"})
        assert answer.status_code == 200
    made = await house.db.fetch("select id, forked_from, forked_step from tasks where forked_from is not null")
    assert [(row["forked_from"], row["forked_step"]) for row in made] == [(task, 1)]
    assert f"/tasks/{made[0]['id']}" in str(answer.url)
    assert (await browser.get(f"/tasks/{task}/fork?step=9")).status_code == 404
    assert (await browser.get(f"/tasks/{task}/fork?step=0")).status_code == 422


async def test_a_form_that_puts_a_plan_back_counts_once_however_often_it_is_sent(house: House) -> None:
    ann = await house.person("ann", "owner")
    task = await planned(house, ann)
    await intake.control(house.deps, ann, task, "pause")  # a version to go back from
    browser = await house.browser(ann)
    fields = await form(browser, f"/tasks/{task}", f"/tasks/{task}/rollback")
    said = await intake.control(house.deps, ann, task, "stop")
    assert await house.db.fetchval("select finished_at is not null from tasks where id = $1", task), said
    for _ in range(2):
        page = await browser.post(f"/tasks/{task}/rollback", data=fields | {"to": "1"})
        assert page.status_code == 200
    assert await house.db.fetchval("select count(*) from tasks") == 2, page.text


async def test_a_plan_is_put_back_from_the_page_or_it_says_why_not(house: House) -> None:
    ann = await house.person("ann", "owner")
    task = await planned(house, ann)
    await intake.control(house.deps, ann, task, "pause")  # a version to go back from
    browser = await house.browser(ann)
    fields = await form(browser, f"/tasks/{task}", f"/tasks/{task}/rollback")
    page = await browser.post(f"/tasks/{task}/rollback", data=fields | {"to": "1"})
    assert "Nothing is put back" in page.text
    page = await browser.post(f"/tasks/{task}/rollback", data=fields | {"to": "99"})
    assert "Nothing is put back" in page.text
