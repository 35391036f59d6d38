"""Approvals by SMS as a phone sees them, on the vendor's wire format: what is sent, what is answered, what is refused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from core.db import Pool
from core.models import Channel, Place
from core.sms import CODE_LETTERS, gsm_length
from core.store import approvals, conversations, steps
from tests.sim.faults import DONE_BUT_ANSWER_LOST, DROP_BEFORE, status
from tests.sms_house import ANN, BOB, SmsHouse, code_in, open_sms_house
from tests.web_house import DIGEST


@pytest.fixture
async def phones(db: Pool, tmp_path: Path) -> AsyncIterator[SmsHouse]:
    async with open_sms_house(db, tmp_path) as opened:
        yield opened


async def test_a_question_fits_into_one_message_and_ok_with_its_code_approves(phones: SmsHouse) -> None:
    approval = await phones.ask()
    await phones.climb()
    [sms] = phones.ann.messages()
    assert sms.segments == 1 and (gsm_length(sms.body) or 999) <= 160
    assert "files.delete paths=old.log" in sms.body and "Bob asks" in sms.body
    assert 0 < int(sms.sent["ValidityPeriod"]) <= 3600

    await phones.ann.say(f"OK {code_in(sms)}")

    assert await phones.status(approval) == "approved"
    assert phones.ann.heard == ["Approved: Delete old.log from the workspace. It runs now."]
    row = await approvals.whole(phones.db, approval)
    assert row is not None and [(v["key"], v["channel"]) for v in row["votes"]] == [("ann", "sms")]


async def test_no_with_the_code_denies_and_the_next_one_hears_who_did(phones: SmsHouse) -> None:
    approval = await phones.ask()
    await phones.climb()
    await phones.ann.say(f"no {code_in(phones.ann.messages()[0]).lower()}.")
    await phones.cleo.say(f"OK {code_in(phones.cleo.messages()[0])}")
    assert await phones.status(approval) == "denied"
    assert phones.ann.heard == ["Denied: Delete old.log from the workspace. It will not run."]
    assert re.fullmatch(r"Already denied by Ann Lee at \d\d:\d\d UTC: Delete old.log .*", phones.cleo.heard[0])


async def test_each_phone_has_its_own_code_and_anothers_decides_nothing(phones: SmsHouse) -> None:
    approval = await phones.ask()
    await phones.climb()
    anns, cleos = code_in(phones.ann.messages()[0]), code_in(phones.cleo.messages()[0])
    assert anns != cleos
    await phones.ann.say(f"OK {cleos}")
    await phones.bob.say(f"OK {anns}")
    assert await phones.status(approval) == "pending"
    assert phones.ann.heard == phones.bob.heard == ["Wrong code, 4 tries left."]
    await phones.ann.say(f"OK {anns}")
    assert await phones.status(approval) == "approved"


async def test_codes_are_kept_as_keyed_hashes_only(phones: SmsHouse) -> None:
    approval = await phones.ask()
    await phones.climb()
    code = code_in(phones.ann.messages()[0])
    await phones.ann.say(f"OK {code}")
    assert await phones.status(approval) == "approved"
    for table in (
        "outbox",
        "sms_codes",
        "sms_received",
        "inbound",
        "decisions",
        "events",
        "audit",
        "asks",
        "rungs",
        "cards",
    ):
        rows = await phones.db.fetchval(f"select string_agg(t::text, ' ') from {table} t")
        assert code not in (rows or "") and code.lower() not in (rows or ""), table


async def test_what_is_typed_is_read_as_it_was_meant(phones: SmsHouse) -> None:
    approval = await phones.ask()
    await phones.climb()
    code = code_in(phones.ann.messages()[0])
    typed = f"{code[:4]}-{code[4:]}".lower().replace("0", "o").replace("1", "l")
    await phones.ann.say(f"  ok:  {typed} ")
    assert await phones.status(approval) == "approved"


async def test_five_wrong_codes_lock_the_sender_for_ten_minutes_whatever_comes_then(phones: SmsHouse) -> None:
    approval = await phones.ask()
    await phones.climb()
    right = code_in(phones.ann.messages()[0])
    for n in range(5):
        await phones.ann.say(f"OK {n}ZZZZZZZ")
    await phones.ann.say(f"OK {right}")
    assert phones.ann.heard[:4] == [f"Wrong code, {n} {'tries' if n > 1 else 'try'} left." for n in (4, 3, 2, 1)]
    assert phones.ann.heard[4:] == ["Too many wrong codes: locked for 10 minutes. Answer in chat or on the web."] * 2
    assert await phones.status(approval) == "pending"
    await phones.cleo.say(f"OK {code_in(phones.cleo.messages()[0])}")  # the lock is the sender's, not the approval's
    assert await phones.status(approval) == "approved"


async def test_the_lock_ends_after_ten_minutes(phones: SmsHouse) -> None:
    approval = await phones.ask()
    await phones.climb()
    for n in range(6):
        await phones.ann.say(f"OK {n}ZZZZZZZ")
    await phones.pass_by(minutes=11)
    await phones.ann.say(f"OK {code_in(phones.ann.messages()[0])}")
    assert await phones.status(approval) == "approved"


async def test_guesses_at_the_same_moment_are_counted_one_by_one(phones: SmsHouse) -> None:
    approval = await phones.ask()
    await phones.climb()
    guesses = [f"OK {CODE_LETTERS[n % 32]}{CODE_LETTERS[n // 32]}000000" for n in range(100)]
    for begin in range(0, 100, 20):
        await asyncio.gather(*(phones.ann.say(guess) for guess in guesses[begin : begin + 20]))
    assert await phones.db.fetchval("select count(*) from sms_wrong where phone = $1", ANN) == 5
    assert await phones.status(approval) == "pending"


async def test_the_same_delivery_again_says_the_same_and_does_nothing(phones: SmsHouse) -> None:
    approval = await phones.ask(needed=2)
    await phones.climb()
    first = await phones.ann.say(f"OK {code_in(phones.ann.messages()[0])}")
    again = [await phones.sim.redeliver(first) for _ in range(20)]
    assert {one.text for one in again} == {first.text} and {one.status for one in again} == {200}
    assert await phones.db.fetchval("select count(*) from decisions") == 1
    assert await phones.status(approval) == "pending"


async def test_a_code_is_good_once(phones: SmsHouse) -> None:
    approval = await phones.ask(needed=2)
    await phones.climb()
    code = code_in(phones.ann.messages()[0])
    await phones.ann.say(f"OK {code}")
    await phones.ann.say(f"NO {code}")
    assert await phones.status(approval) == "pending"
    assert phones.ann.heard == [
        "Your answer is counted: Delete old.log from the workspace. More people are needed.",
        "Your answer to Delete old.log from the workspace is counted already. More people are needed.",
    ]


async def test_an_answer_after_the_deadline_is_told_that_it_is_late(phones: SmsHouse) -> None:
    approval = await phones.ask(expires_in_s=60)
    await phones.climb()
    await phones.pass_by(minutes=2)
    await phones.ann.say(f"OK {code_in(phones.ann.messages()[0])}")
    assert await phones.status(approval) == "expired"
    assert phones.ann.heard == ["Too late: Delete old.log from the workspace has expired. It will not run."]


async def test_who_may_no_longer_decide_decides_nothing(phones: SmsHouse) -> None:
    approval = await phones.ask()
    await phones.climb()
    await phones.db.execute("update principals set roles = '{}' where key = 'ann'")
    await phones.ann.say(f"OK {code_in(phones.ann.messages()[0])}")
    assert await phones.status(approval) == "pending"
    assert phones.ann.heard == ["Nothing was decided: you are not among those who may decide this."]


async def test_a_number_that_was_given_to_somebody_else_does_not_decide_with_the_old_code(phones: SmsHouse) -> None:
    approval = await phones.ask()
    await phones.climb()
    await phones.db.execute(
        "update identities set principal_id = (select id from principals where key = 'cleo') where external_id = $1",
        ANN,
    )
    await phones.ann.say(f"OK {code_in(phones.ann.messages()[0])}")
    assert await phones.status(approval) == "pending"
    assert phones.ann.heard == ["Nothing was decided: this code was sent to somebody else."]


async def test_words_of_carriers_are_no_verbs(phones: SmsHouse) -> None:
    approval = await phones.ask()
    await phones.climb()
    code = code_in(phones.ann.messages()[0])
    for words in (f"YES {code}", f"CANCEL {code}", f"END {code}", "ok", "NO", "approve", f"OK {code} and more", ""):
        await phones.ann.say(words)
    assert await phones.status(approval) == "pending"
    assert phones.ann.heard == ["To answer, send OK or NO and the 8 characters of the code."] * 8


async def test_stop_lasts_and_start_takes_it_back(phones: SmsHouse) -> None:
    said = await phones.ann.say("Stop")
    assert said.said == []  # carriers answer it themselves
    first = await phones.ask(people=["ann"], roles=[])
    await phones.climb()
    assert phones.ann.messages() == []
    assert ("skipped", "sms", "they said STOP to SMS") in await phones.timeline(first)
    await phones.ann.say("START")
    assert phones.ann.heard == ["Acme: approvals may come by SMS again. HELP for help, STOP to stop."]
    await phones.ask(people=["ann"], roles=[])
    await phones.climb()
    assert len(phones.ann.messages()) == 1


async def test_a_stop_between_asking_and_sending_is_heeded(phones: SmsHouse) -> None:
    await phones.ask(people=["ann"], roles=[])
    await phones.climber.tick()
    await phones.ann.say("STOP")
    await phones.climb()
    assert phones.ann.messages() == []


async def test_a_stop_that_only_the_vendor_knows_of_is_learned_when_it_refuses(phones: SmsHouse) -> None:
    phones.sim.refuse(ANN, 21610)
    await phones.ask(people=["ann"], roles=[])
    await phones.climb()
    assert await phones.db.fetchval("select opted_out_at is not null from sms_numbers where phone = $1", ANN)


async def test_help_is_answered_unless_the_vendor_has_answered_it(phones: SmsHouse) -> None:
    assert "Reply OK or NO" in (await phones.ann.say("help")).said[0]
    assert (await phones.ann.say("HELP", opt_out=True)).said == []


@pytest.mark.parametrize(
    "text", ["", " \n", "x" * 1600, "OK", "OK \u202e<!here> ' or 1=1", "\U0001f680" * 35, "{{ 1 }}"]
)
async def test_any_words_get_one_short_answer_and_decide_nothing(phones: SmsHouse, text: str) -> None:
    await phones.ask()
    said = (await phones.ann.say(text)).said
    assert len(said) == 1 and 0 < len(said[0]) <= 160
    assert "Traceback" not in said[0]
    assert await phones.db.fetchval("select count(*) from decisions") == 0


async def test_a_stranger_is_told_once_an_hour_that_the_number_is_not_linked(phones: SmsHouse) -> None:
    stranger = phones.sim.phone("+15550009999")
    for _ in range(3):
        await stranger.say("OK ABCDEFGH")
    assert stranger.heard == ["Acme: this number is not linked. Say in chat: sms link and your number."]
    assert await phones.db.fetchval("select count(*) from inbound where channel = 'sms'") == 0


# ---------------------------------------------------------------- what carries no code


async def test_an_action_that_does_not_fit_goes_as_a_link_without_a_code(phones: SmsHouse) -> None:
    await phones.ask(args={"paths": [f"logs/2026/november/{n}.log" for n in range(20)]}, title="Delete 20 files")
    await phones.climb()
    [sms] = phones.ann.messages()
    assert "/approvals/" in sms.body and "OK" not in sms.body and sms.segments == 1
    assert await phones.db.fetchval("select count(*) from sms_codes where code_hash is not null") == 0


async def test_what_a_phone_could_show_wrongly_goes_as_a_link(phones: SmsHouse) -> None:
    for path in ("пароль.txt", "a\u202eb.log", "smile-🙂.txt", "two  spaces", "ﬁle"):
        await phones.ask(args={"paths": [path]}, title=path, people=["ann"], roles=[])
    await phones.climb()
    assert len(phones.ann.messages()) == 5
    assert all(
        "/approvals/" in one.body and "OK" not in one.body and one.segments == 1 for one in phones.ann.messages()
    )


async def test_a_secret_in_the_action_goes_as_a_link_and_stays_out_of_it(db: Pool, tmp_path: Path) -> None:
    async with open_sms_house(db, tmp_path, telegram_bot_token="1:hunter2-hunter2") as phones:
        await phones.ask(args={"text": "1:hunter2-hunter2"}, title="Say 1:hunter2-hunter2")
        await phones.climb()
        assert all("/approvals/" in one.body and "hunter2" not in one.body for one in phones.sim.sent)
        assert len(phones.sim.sent) == 2


@pytest.mark.parametrize(("risk", "sent"), [("low", 2), ("high", 2), ("critical", 0), (None, 0)])
async def test_the_top_tier_never_goes_by_sms(phones: SmsHouse, risk: str | None, sent: int) -> None:
    approval = await phones.ask(risk=risk)
    await phones.climb()
    assert len(phones.sim.sent) == sent
    notes = [note for what, _, note in await phones.timeline(approval) if what == "rung"]
    assert any("SMS is for high at most" in note for note in notes) is (sent == 0)


async def test_the_file_may_allow_less_risk_by_sms(db: Pool, tmp_path: Path) -> None:
    async with open_sms_house(db, tmp_path, more="sms_max_risk: low\n") as phones:
        await phones.ask(risk="medium")
        await phones.climb()
        assert phones.sim.sent == []


# ---------------------------------------------------------------- what goes wrong outside


async def test_an_sms_whose_answer_was_lost_is_not_sent_twice_and_its_receipt_tells_that_it_went(
    phones: SmsHouse,
) -> None:
    phones.sim.faults.add("messages.create", 1, DONE_BUT_ANSWER_LOST)
    approval = await phones.ask(people=["ann"], roles=[])
    await phones.climb()
    [sms] = phones.ann.messages()
    assert await _outbox(phones) == [("unknown", None)]
    await phones.ann.report(sms, "delivered")
    assert await _outbox(phones) == [("sent", sms.sid)]
    await phones.climb()
    await phones.ann.say(f"OK {code_in(sms)}")
    assert len(phones.sim.sent) == 1 and await phones.status(approval) == "approved"


async def test_an_sms_of_which_nothing_is_heard_is_given_up_after_a_minute_and_never_sent_again(
    phones: SmsHouse,
) -> None:
    phones.sim.faults.add("messages.create", 1, DROP_BEFORE)
    await phones.ask(people=["ann"], roles=[])
    await phones.climb()
    assert await _outbox(phones) == [("unknown", None)]
    await phones.pass_by(minutes=2)
    assert (await _outbox(phones))[0] == ("dead", None) and phones.sim.sent == []


async def test_a_vendor_that_is_too_busy_is_asked_again(phones: SmsHouse) -> None:
    phones.sim.faults.add("messages.create", 1, status(429))
    await phones.ask(people=["ann"], roles=[])
    await phones.climb()
    await phones.db.execute("update outbox set next_at = now()")
    await phones.climb()
    [sms] = phones.ann.messages()
    await phones.ann.say(f"OK {code_in(sms)}")
    assert phones.ann.heard[0].startswith("Approved")


async def test_a_question_that_was_decided_before_it_left_is_not_sent(phones: SmsHouse) -> None:
    approval = await phones.ask(people=["ann"], roles=[])
    await phones.climber.tick()
    await phones.db.execute(
        "select cancel_v1(task_id, 'person:bob', 'no more') from approvals where id = $1::uuid", approval
    )
    await phones.climb()
    assert phones.sim.sent == [] and {state for state, _ in await _outbox(phones)} == {"sent"}


async def test_receipts_stand_on_the_timeline(phones: SmsHouse) -> None:
    approval = await phones.ask(people=["ann"], roles=[])
    await phones.climb()
    [sms] = phones.ann.messages()
    for state in ("sent", "delivered", "delivered"):
        assert (await phones.ann.report(sms, state)).status == 204
    lines = [(what, channel) for what, channel, _ in await phones.timeline(approval)]
    assert lines[-2:] == [("sent", "sms"), ("delivered", "sms")]


async def test_words_go_to_phones_that_agreed_and_are_cut_to_one_message(phones: SmsHouse) -> None:
    for phone in (ANN, BOB):
        place = await conversations.ensure(phones.db, Place(channel=Channel.SMS, external_id=phone, private=True))
        await conversations.say(phones.db, place, "The queue is long. 🙂 " * 20)
    await phones.climb()
    assert [(one.to, one.segments) for one in phones.sim.sent] == [(ANN, 1)]


async def test_a_question_whether_it_happened_waits_for_the_ladder_before_it_goes_to_a_phone(phones: SmsHouse) -> None:
    approval = await phones.ask(people=["ann"], roles=[])
    await phones.climb()
    await phones.ann.say(f"OK {code_in(phones.ann.messages()[0])}")
    [step] = await steps.claim(phones.db, phones.house.worker, "default", 16)
    begun = {"key": "k", "digest": DIGEST, "action": {}, "approval": approval, "grant": None}
    assert await steps.begin(phones.db, phones.house.worker, step, **begun) == "go"
    await phones.db.fetchval("select lose_v1($1, $2, $3, $4, 'lost')", phones.house.worker, step.task_id, 1, step.fence)
    while await phones.courier.deliver():
        continue
    [question] = await phones.db.fetch("select id from approvals where kind = 'unknown' and status = 'pending'")
    assert len(phones.ann.messages()) == 1
    await phones.climb()
    [_, sms] = phones.ann.messages()
    assert f"/approvals/{question['id']}" in sms.body and "OK" not in sms.body


async def _outbox(phones: SmsHouse) -> list[tuple[str, str | None]]:
    rows = await phones.db.fetch(
        "select o.status, o.provider_ref from outbox o join conversations c on c.id = o.conversation_id"
        " where c.channel = 'sms' order by o.id"
    )
    return [tuple(row) for row in rows]


# ---------------------------------------------------------------- who is not Twilio


async def _raw(phones: SmsHouse, form: list[tuple[str, str]] | bytes, **headers: str) -> int:
    url = f"{phones.sim.deliver_to}/twilio/sms"
    body = form if isinstance(form, bytes) else urlencode(form).encode()
    signed = phones.sim.signed(url, form) if isinstance(form, list) else {}
    status, _, _ = await phones.sim.post(url, body, signed | {k.replace("_", "-"): v for k, v in headers.items()})
    return status


def _form(phones: SmsHouse, **more: str) -> list[tuple[str, str]]:
    base = {"MessageSid": "SM" + "1" * 32, "AccountSid": phones.sim.account, "From": ANN, "Body": "STOP"}
    return list((base | more).items())


async def test_unsigned_forged_malformed_and_oversized_requests_are_refused_and_change_nothing(
    phones: SmsHouse,
) -> None:
    url, form = f"{phones.sim.deliver_to}/twilio/sms", _form(phones)
    elsewhere = phones.sim.signed("https://evil.example/twilio/sms", form)["X-Twilio-Signature"]
    wrong_key = phones.sim.signed(url, form, key="another")["X-Twilio-Signature"]
    other_algorithm = phones.sim.signed(url, form, algorithm="sha256")
    refused = {
        "unsigned": await _raw(phones, urlencode(form).encode()),
        "wrong key": await _raw(phones, form, X_Twilio_Signature=wrong_key),
        "another address": await _raw(phones, form, X_Twilio_Signature=elsewhere, X_Forwarded_Host="evil.example"),
        "an algorithm that was not agreed": await _raw(phones, form, **other_algorithm),
        "not ASCII": await _raw(phones, form, X_Twilio_Signature="é" * 28),
        "another account": await _raw(phones, _form(phones, AccountSid="AC" + "9" * 32)),
        "no sid": await _raw(phones, _form(phones, MessageSid="")),
        "a sid that is none": await _raw(phones, _form(phones, MessageSid="SM1'; drop table")),
        "no phone": await _raw(phones, _form(phones, From="whatsapp:+15550002222")),
        "a field twice": await _raw(phones, [*form, ("From", BOB)]),
        "a name that is none": await _raw(phones, [*form, ("Bo dy", "x")]),
        "no form": await _raw(phones, b'{"Body": "STOP"}'),
        "JSON": await _raw(phones, b'{"Body": "STOP"}', Content_Type="application/json"),
        "bad encoding": await _raw(phones, b"Body=%ff%fe&From=%2B1"),
        "raw bytes": await _raw(phones, b"\xff\xfe\x00"),
        "too many fields": await _raw(phones, [*form, *((f"F{n}", "x") for n in range(200))]),
        "too long": await _raw(phones, _form(phones, Body="x" * 2000)),
        "too large": await _raw(phones, _form(phones, Body="x" * 70_000)),
    }
    assert {name: code for name, code in refused.items() if not 400 <= code < 500} == {}
    assert await phones.db.fetchval("select count(*) from sms_received") == 0
    assert await phones.db.fetchval("select count(*) from sms_numbers where opted_out_at is not null") == 0
    assert await _raw(phones, form) == 200


async def test_headers_of_proxies_change_no_verdict(phones: SmsHouse) -> None:
    for n, name in enumerate(
        ("X_Forwarded_Host", "X_Forwarded_Proto", "Forwarded", "X_Original_Host", "X_Forwarded_Port")
    ):
        form = _form(phones, MessageSid="SM" + f"{n}" * 32, Body="hello")
        assert await _raw(phones, form, **{name: "evil.example"}) == 200


async def test_fields_that_came_lately_and_empty_ones_are_part_of_what_is_signed(phones: SmsHouse) -> None:
    form = [*_form(phones), ("FromCity", ""), ("NewField", "ümlaut & more"), ("MediaUrl0", "https://a/b?c=d")]
    assert await _raw(phones, form) == 200
    tampered = [*form[:-1], ("MediaUrl0", "https://a/b?c=e")]
    signature = phones.sim.signed(f"{phones.sim.deliver_to}/twilio/sms", form)["X-Twilio-Signature"]
    assert await _raw(phones, tampered, X_Twilio_Signature=signature) == 403


async def test_signatures_by_a_shared_key_are_accepted_where_they_are_agreed_and_the_older_ones_are_not(
    db: Pool, tmp_path: Path
) -> None:
    async with open_sms_house(db, tmp_path, shared_key="shared-key-of-no-worth") as phones:
        approval = await phones.ask()
        await phones.climb()
        await phones.ann.say(f"OK {code_in(phones.ann.messages()[0])}")
        assert await phones.status(approval) == "approved"
        form = _form(phones)
        url = f"{phones.sim.deliver_to}/twilio/sms"
        older = phones.sim.signed(url, form, key=phones.sim.token, algorithm="sha1")
        assert await _raw(phones, form, **older) == 403


# ---------------------------------------------------------------- linking a phone


async def test_a_phone_is_linked_by_a_code_that_came_to_it_and_is_said_in_chat(phones: SmsHouse) -> None:
    number = "+41791234567"
    assert "on its way" in await phones.say(f"sms link {number[:3]} 79 123 45 67", "cleo")
    await phones.climb()
    [sms] = phones.sim.phone(number).messages()
    code = re.search(r"sms confirm ([0-9A-Z]{8})", sms.body)
    assert code and sms.segments == 1
    assert "4 tries left" in await phones.say("sms confirm 00000000", "cleo")
    assert f"{number} is yours now" in await phones.say(f"sms confirm {code.group(1).lower()}", "cleo")
    assert f"{number}: on" in await phones.say("sms", "cleo")
    approval = await phones.ask(people=["cleo"], roles=[])
    await phones.climb()
    asked = phones.sim.phone(number).messages()[-1]
    await phones.sim.phone(number).say(f"OK {code_in(asked)}")
    assert await phones.status(approval) == "approved"
    assert await phones.db.fetchval("select count(*) from audit where kind = 'linked'") == 1


async def test_somebody_elses_phone_is_not_linked(phones: SmsHouse) -> None:
    assert "somebody else" in await phones.say(f"sms link {ANN}", "bob")
    await phones.climb()
    assert phones.sim.sent == []


async def test_a_code_for_linking_is_good_for_its_asker_only_and_for_ten_minutes(phones: SmsHouse) -> None:
    await phones.say("sms link +41791234567", "bob")
    await phones.climb()
    code = re.search(r"confirm ([0-9A-Z]{8})", phones.sim.sent[0].body)
    assert code
    assert "no code to confirm" in await phones.say(f"sms confirm {code.group(1)}", "ann")
    await phones.pass_by(minutes=11)
    assert "no code to confirm" in await phones.say(f"sms confirm {code.group(1)}", "bob")


async def test_codes_for_linking_are_few_an_hour_and_guesses_at_them_five(phones: SmsHouse) -> None:
    said = [await phones.say("sms link +41791234567", "bob") for _ in range(4)]
    assert ["on its way" in one for one in said] == [True, True, True, False]
    await phones.climb()
    assert len([one for one in phones.sim.sent if "sms confirm" in one.body]) == 1  # the older ones were replaced
    guesses = [await phones.say("sms confirm 00000000", "bob") for _ in range(6)]
    assert "last try" in guesses[4] and "no code to confirm" in guesses[5]


async def test_a_number_is_not_linked_where_sms_is_off_or_it_is_none(phones: SmsHouse) -> None:
    assert "country code" in await phones.say("sms link 0791234567", "bob")
    assert await phones.say("sms is nice") != ""
    off = phones.house.deps.settings.model_copy(update={"twilio_auth_token": None})
    phones.house.deps = type(phones.house.deps)(off, *_rest(phones))
    assert await phones.say("sms link +41791234567") == "SMS is not set up here."


def _rest(phones: SmsHouse) -> tuple[object, ...]:
    deps = phones.house.deps
    return deps.organisation, deps.db, deps.ring
