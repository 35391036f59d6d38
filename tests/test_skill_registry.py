"""Where skills come from, and that a broken source is reported by name and takes nothing else down."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.skill_context import context
from worker.skills.context import Handles
from worker.skills.errors import BadDeclaration
from worker.skills.registry import Registry

GOOD = """
    from worker.skills import SkillContext, skill

    @skill(permissions=[("read", "*")], effect="pure", card="Greet {who}")
    async def greet(ctx: SkillContext, who: str) -> dict:
        \"\"\"Greet somebody.\"\"\"
        return {"text": "hello " + who, "from": ctx.settings.get("from", "")}
"""


def skill_file(home: Path, name: str, text: str = GOOD) -> Path:
    (home / "skills").mkdir(exist_ok=True, mode=0o755)
    path = home / "skills" / name
    path.write_text(textwrap.dedent(text))
    path.chmod(0o644)
    return path


async def test_a_file_in_the_home_becomes_a_namespace(tmp_path: Path) -> None:
    skill_file(tmp_path, "hall.py")
    registry = Registry.load(tmp_path, {"hall": {"from": "Sayso"}})
    assert registry.problems == []
    found = registry.get("hall.greet", "1")
    assert found is not None and registry.get("hall.greet", "2") is None and registry.get("hall.leave") is None
    ctx = context(Handles(), settings=registry.settings_of("hall.greet"))
    assert await found.run(ctx, {"who": "Ann"}) == {"text": "hello Ann", "from": "Sayso"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("import nothing_like_this\n", "ModuleNotFoundError"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("x = 1\n", "holds no skill"),
        (GOOD.replace("who: str", "who"), "'who' has no type hint; add one"),
        (GOOD.replace('effect="pure"', 'effect="checkable"'), "has no probe"),
    ],
)
def test_a_broken_file_is_reported_and_the_others_stay(tmp_path: Path, text: str, why: str) -> None:
    skill_file(tmp_path, "bad.py", text)
    skill_file(tmp_path, "good.py")
    registry = Registry.load(tmp_path)
    assert [problem.source.endswith("bad.py") for problem in registry.problems] == [True]
    assert why in registry.problems[0].why
    assert registry.get("good.greet") is not None and registry.get("files.delete") is not None


def test_hidden_files_and_links_are_left_alone(tmp_path: Path) -> None:
    skill_file(tmp_path, ".hidden.py", "raise SystemExit(1)")
    skill_file(tmp_path, "_private.py", "raise SystemExit(1)")
    elsewhere = tmp_path / "elsewhere.py"
    elsewhere.write_text("raise SystemExit(1)")
    (tmp_path / "skills" / "linked.py").symlink_to(elsewhere)
    registry = Registry.load(tmp_path)
    assert registry.problems == [] and registry.get("linked.greet") is None


def test_code_that_others_may_write_is_not_run(tmp_path: Path) -> None:
    skill_file(tmp_path, "open.py").chmod(0o666)
    (tmp_path / "skills" / "pipe.py").mkdir()
    registry = Registry.load(tmp_path)
    assert "chmod go-w" in registry.problems[0].why and registry.get("open.greet") is None
    assert len(registry.problems) == 2


def test_a_name_that_is_taken_is_refused_and_the_first_stays(tmp_path: Path) -> None:
    skill_file(tmp_path, "files.py", GOOD.replace("greet", "delete"))
    registry = Registry.load(tmp_path)
    assert "files.delete is there already, from built-in files" in registry.problems[0].why
    found = registry.get("files.delete")
    assert found is not None and found.manifest.names_files == ("paths",)


def test_an_imported_skill_is_not_declared_twice(tmp_path: Path) -> None:
    skill_file(tmp_path, "one.py")
    skill_file(tmp_path, "two.py", GOOD.replace("greet", "wave") + "    from worker.skills.files import delete\n")
    registry = Registry.load(tmp_path)
    assert registry.problems == [] and registry.get("two.wave") is not None


def test_an_installed_package_offers_skills(tmp_path: Path) -> None:
    package = tmp_path / "site"
    (package / "acme-1.0.dist-info").mkdir(parents=True)
    (package / "acme-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (package / "acme-1.0.dist-info" / "entry_points.txt").write_text(
        "[sayso.skills]\nacme = acme_hall\ngone = acme_gone\n"
    )
    (package / "acme_hall.py").write_text(textwrap.dedent(GOOD))
    script = (
        "from pathlib import Path; from worker.skills.registry import Registry\n"
        "r = Registry.load(Path('/nonexistent'))\n"
        "print(r.get('acme_hall.greet').manifest.card, [p.source for p in r.problems])\n"
    )
    path = f"{package}:{Path(__file__).parent.parent}"
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, env={"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "Greet {who} ['package acme_gone']", done.stderr


def test_loading_brings_in_no_heavy_library() -> None:
    script = (
        "import sys; from pathlib import Path; from worker.skills.registry import Registry\n"
        "Registry.load(Path('/nonexistent'))\n"
        "print([m for m in ('httpx', 'aiosmtplib', 'asyncpg', 'ssl') if m in sys.modules and m != 'ssl'])\n"
    )
    root = str(Path(__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", script], check=False, cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_broken_declaration_of_our_own_raises() -> None:
    from worker.skills.files import delete

    registry = Registry()
    registry.add(delete, "one")
    with pytest.raises(BadDeclaration, match=r"files\.delete is there already, from one"):
        registry.add(delete, "two")
