"""What a chat text means: a command with its whole shape, an error with its fix, or plain words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.commands import (
    TASK_VERBS,
    Do,
    OnTask,
    Pair,
    PlainText,
    Prioritise,
    Recall,
    Remember,
    Run,
    Show,
    Steer,
    Wrong,
    parse,
)
from core.models import SkillManifest

TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}


def skill(name: str, required: list[str], **properties: dict[str, Any]) -> SkillManifest:
    return SkillManifest(
        name=name,
        version="1",
        summary="",
        args_schema={
            "type": "object",
            "properties": properties,
            "required": required,
            "$defs": {"How": {"enum": ["GET", "POST"], "type": "string"}, "Path": TEXT},
        },
        schema_hash="h",
        permissions=(),
    )


SKILLS = {
    manifest.name: manifest
    for manifest in (
        skill("files.delete", ["paths"], paths={"type": "array", "items": {"$ref": "#/$defs/Path"}}),
        skill("files.write", ["path", "content"], path=TEXT, content=TEXT, overwrite={"type": "boolean"}),
        skill("note.remember", ["text"], text=TEXT, scope=TEXT),
        skill("email.send", ["to", "subject", "body"], to=TEXT, subject=TEXT, body=TEXT, cc=TEXTS),
        skill(
            "http.request",
            ["url"],
            url=TEXT,
            method={"$ref": "#/$defs/How"},
            headers={"type": "object"},
            body={"anyOf": [TEXT, {"type": "null"}]},
        ),
        skill(
            "x.all",
            [],
            n={"type": "integer"},
            f={"type": "number"},
            b={"type": "boolean"},
            maybe={"anyOf": [{"type": "integer"}, {"type": "null"}]},
            ns={"type": "array", "items": {"type": "integer"}},
            either={"anyOf": [TEXT, TEXTS]},
            any={},
            pair={"type": "array", "items": {"type": "object"}},
        ),
    )
}
RUNBOOKS = ("clean-logs", "deploy")


def read(text: str) -> Any:
    return parse(text, SKILLS, RUNBOOKS)


def args(text: str) -> Any:
    command = read(text)
    assert isinstance(command, Do), command
    return command.args


def wrong(text: str) -> str:
    command = read(text)
    assert isinstance(command, Wrong), command
    return command.say


# ---------------------------------------------------------------- plain words


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "do you know where the logs are?",
        "do it",
        "do it.",
        "do the files.delete thing",
        "do e.g. this",
        "do not delete a=b",
        "run away",
        "run the tests",
        "run well-known tests",
        "run \"this",
        "stop worrying about it",
        "stop 12 things",
        "status of the deploy",
        "status quo",
        "why not?",
        "why is it raining",
        "help me delete old logs",
        "tasks are piling up",
        "retry later",
        "undo my mistake",
        "pause for a second",
        "approvals please",
        "start over",
        "pair programming with Ann",
        "pair together",
        "pair",
        "every \"7:00\" run clean-logs",
        "doing things",
        "rememberthis",
    ],
)  # fmt: skip
def test_a_sentence_is_not_taken_for_a_command(text: str) -> None:
    assert read(text) == PlainText(text)


# ---------------------------------------------------------------- one word


@pytest.mark.parametrize("verb", TASK_VERBS)
def test_a_hand_on_a_task_takes_a_number_or_none(verb: str) -> None:
    assert read(verb) == OnTask(verb, None)  # type: ignore[arg-type]
    for text in (f"{verb} 12", f"{verb.upper()} #12", f"/{verb}  task 12", f" {verb.title()}\n12 ", f"{verb} 12."):
        assert read(text) == OnTask(verb, 12), text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("tasks", Show("tasks")),
        ("Tasks?", Show("tasks")),
        ("/approvals", Show("approvals")),
        ("grants", Show("grants")),
        ("help", Show("help")),
        ("HELP!", Show("help")),
        ("/start", Show("help")),
        ("stop!", OnTask("stop", None)),
        ("remember the key is with Ann", Remember("the key is with Ann")),
        ("Remember\nthis", Remember("this")),
        ("recall deploy key", Recall("deploy key")),
        ("recall", Recall("")),
        ("pair ABCD2345", Pair("ABCD2345", None, ())),
        ("pair abcd2345 as ann", Pair("ABCD2345", "ann", ())),
        ("pair ABCD2345 roles=engineer,oncall", Pair("ABCD2345", None, ("engineer", "oncall"))),
    ],
)
def test_a_short_command_is_understood(text: str, command: Any) -> None:
    assert read(text) == command


def test_a_number_too_long_for_a_task_is_no_command() -> None:
    assert isinstance(read("stop " + "9" * 19), PlainText)


# ---------------------------------------------------------------- do


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("do files.delete paths=old.log", {"paths": ["old.log"]}),
        ("DO Files.Delete paths=old.log", {"paths": ["old.log"]}),
        ("/do files.delete\npaths=old.log", {"paths": ["old.log"]}),
        ("do files.delete old.log", {"paths": ["old.log"]}),
        ("do files.delete old.log new.log", {"paths": ["old.log", "new.log"]}),
        ("do files.delete a.log,b.log", {"paths": ["a.log", "b.log"]}),
        ("do files.delete paths=a.log,b.log", {"paths": ["a.log", "b.log"]}),
        ("do files.delete paths=a.log, b.log", {"paths": ["a.log", "b.log"]}),
        ("do files.delete paths=a.log paths=b.log", {"paths": ["a.log", "b.log"]}),
        ('do files.delete paths="a, b.log",c.log', {"paths": ["a, b.log", "c.log"]}),
        ("do files.delete paths='my file.txt'", {"paths": ["my file.txt"]}),
        ("do files.delete paths=“my file.txt”", {"paths": ["my file.txt"]}),
        ('do files.delete ["a.log", "b c.log"]', {"paths": ["a.log", "b c.log"]}),
        ('do files.delete paths=["a.log"]', {"paths": ["a.log"]}),
        ("do files.delete paths=[draft].txt", {"paths": ["[draft].txt"]}),
        ("do files.delete paths=it's.log", {"paths": ["it's.log"]}),
        ("do note.remember the key is with Ann", {"text": "the key is with Ann"}),
        ('do note.remember "the key"', {"text": "the key"}),
        ("do note.remember don't forget, ever", {"text": "don't forget, ever"}),
        ("do note.remember text='a \"b\"' scope=org", {"text": 'a "b"', "scope": "org"}),
        (r'do note.remember text="say \"hi\" \\ bye"', {"text": r'say "hi" \ bye'}),
        ("do note.remember text=", {"text": ""}),
        (
            'do email.send to=ann@acme.example subject="Hi, Ann" body="one\ntwo" cc=bob@acme.example',
            {"to": "ann@acme.example", "subject": "Hi, Ann", "body": "one\ntwo", "cc": ["bob@acme.example"]},
        ),
        ("do email.send to=a, subject=b, body=c", {"to": "a", "subject": "b", "body": "c"}),
        ("do http.request https://x.example/?a=b&c=d,e", {"url": "https://x.example/?a=b&c=d,e"}),
        (
            'do http.request url=https://x.example method=post headers={"X-A": "b c"} body={"n": 1}',
            {"url": "https://x.example", "method": "POST", "headers": {"X-A": "b c"}, "body": '{"n": 1}'},
        ),
        ("do x.all", {}),
        ("do x.all n=-3 f=2.5 b=yes", {"n": -3, "f": 2.5, "b": True}),
        ("do x.all f=2 b=False ns=1,2,3", {"f": 2, "b": False, "ns": [1, 2, 3]}),
        ("do x.all maybe=null any=7", {"maybe": None, "any": "7"}),
        ("do x.all maybe=4 either=a", {"maybe": 4, "either": ["a"]}),
        ('do x.all pair=[{"a": 1}]', {"pair": [{"a": 1}]}),
        ('do x.all pair={"a":1}', {"pair": [{"a": 1}]}),
    ],
)
def test_arguments_are_read_by_the_skills_schema(text: str, expected: dict[str, Any]) -> None:
    found = args(text)
    assert found == expected
    assert {k: type(v) for k, v in found.items()} == {k: type(v) for k, v in expected.items()}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("do", "do <skill> name=value"),
        ("do files.delet paths=x", "There is no skill files.delet. Did you mean files.delete?"),
        ("do files.delete path=x", "takes no 'path', did you mean 'paths'? Say: do files.delete paths=…"),
        ("do files.delete", "files.delete needs paths. Say: do files.delete paths=…"),
        ("do files.delete paths=a b.log", "What is 'b.log' for? Say"),
        ('do files.delete paths="a', "A quotation mark is not closed"),
        ("do files.write path=a", "files.write needs content. Say: do files.write path=… content=… [overwrite=…]"),
        ("do files.write a b", "What is 'a' for? Say"),
        ("do files.write path=a path=b content=c", "path is given twice"),
        ("do http.request url=x headers=a", "headers: 'a' is no object; write it like {\"a\": 1}"),
        ("do http.request url=x method=FETCH", "'FETCH' is not one of GET, POST"),
        ("do x.all n=2.5", "n: '2.5' is no whole number"),
        ("do x.all n=9007199254740992", "beyond"),
        ("do x.all n=١", "no whole number"),
        ("do x.all f=1e5", "no number"),
        ("do x.all b=maybe", "neither true nor false"),
        ("do x.all ns=1,x", "ns: 'x' is no whole number"),
        ("do note.remember " + "x " * 10_001, "longer than 20,000 characters"),
    ],
)
def test_an_error_names_the_fix(text: str, says: str) -> None:
    assert says in wrong(text)


# ---------------------------------------------------------------- run


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("run clean-logs", Run("clean-logs", {})),
        ("Run deploy to=prod note='two words'", Run("deploy", {"to": "prod", "note": "two words"})),
        ("run deploy\nlist=a,b", Run("deploy", {"list": "a,b"})),
    ],
)
def test_a_runbook_takes_its_inputs(text: str, command: Run) -> None:
    assert read(text) == command


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("run", "There are: clean-logs, deploy"),
        ("run clean-log", "There is no runbook clean-log. Did you mean clean-logs?"),
        ("run cleanup x=1", "There is no runbook cleanup."),
        ("run clean-logs please", "What is 'please' for? Say: run clean-logs name=value"),
        ("run deploy to=a to=b", "to is given twice"),
        ('run deploy to="a', "not closed"),
    ],
)
def test_a_wrong_run_names_the_fix(text: str, says: str) -> None:
    assert says in wrong(text)


# ---------------------------------------------------------------- always

pieces = st.sampled_from(
    ["do ", "run ", "files.delete", "x.all", " ", "paths", "n", "=", ",", '"', "'", "“", "”", "[", "]", "{", "}", "\\", "1", "a",
     "null", "deploy", "stop", "#", "12", "\n", "\u2028", "²", "pair ", "İ"]
)  # fmt: skip


@given(st.text(max_size=4000) | st.lists(pieces, max_size=40).map("".join))
def test_any_text_has_a_meaning(text: str) -> None:
    command = read(text)
    if isinstance(command, PlainText):
        assert command.text == text.strip()
    if isinstance(command, Do):
        assert command.skill in SKILLS
        assert set(command.args) <= set(SKILLS[command.skill].args_schema["properties"])


@given(st.lists(st.text(min_size=1).filter(lambda t: "\\" not in t and '"' not in t), min_size=1, max_size=4))
def test_a_quoted_list_comes_through_exactly(paths: list[str]) -> None:
    written = ",".join(f'"{p}"' for p in paths)
    if not written.isspace():
        assert args(f"do files.delete paths={written}") == {"paths": paths}


@given(st.text(max_size=200))
def test_any_quoted_text_comes_through_exactly(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    assert args(f'do note.remember text="{quoted}"') == {"text": text}


def test_deeply_nested_json_is_an_error_and_no_crash() -> None:
    assert "no object" in wrong("do http.request url=x headers=" + '{"a":' * 3000)
    assert isinstance(read("do files.delete paths=" + "[" * 9000), Do)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("steer 12 only the b files", Steer(12, "only the b files", now=False)),
        ("steer task #12: two\nlines", Steer(12, "two\nlines", now=False)),
        ("/interrupt 12 wait!", Steer(12, "wait!", now=True)),
        ("priority 12 High", Prioritise(12, "high")),
        ("priority task 12 urgent.", Prioritise(12, "urgent")),
    ],
)
def test_a_running_task_is_told_something_by_its_number(text: str, read: object) -> None:
    assert parse(text, {}, ()) == read


@pytest.mark.parametrize(
    "text", ["steer the boat", "steer 12", "interrupt me at 12", "priority 1 customers come first"]
)
def test_sentences_that_only_begin_like_it_are_plain_words(text: str) -> None:
    assert parse(text, {}, ()) == PlainText(text)


def test_a_priority_that_there_is_not_is_answered_with_those_there_are() -> None:
    wrong = parse("priority 12 soon", {}, ())
    assert isinstance(wrong, Wrong)
    assert "urgent, high, normal, low" in wrong.say
