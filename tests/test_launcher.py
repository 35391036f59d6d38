"""The launcher, run for real on a small house: a lock of one wheel made here, so that nothing is downloaded."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HOUSE = Path(__file__).resolve().parents[1]
TOOLS = ("sh", "dirname", "basename", "cat", "cmp", "grep", "rm")
# Stands in for uv, since a venv with pip takes many seconds: makes a bare one and unpacks the wheels of the lock.
UV = """#!{python}
import hashlib, os, pathlib, subprocess, sys, zipfile
assert os.environ["UV_PYTHON_DOWNLOADS"] == "never"
if sys.argv[1] == "venv":
    sys.exit(subprocess.call([sys.argv[-2], "-m", "venv", "--without-pip", sys.argv[-1]]))
assert sys.argv[1:3] == ["pip", "install"] and "--require-hashes" in sys.argv
venv = pathlib.Path(sys.argv[sys.argv.index("--python") + 1]).parent.parent
for line in open(sys.argv[-1]):
    pin, _, wanted = line.strip().partition(" --hash=sha256:")
    wheel = pathlib.Path({wheels!r}) / (pin.replace("==", "-") + "-py3-none-any.whl")
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != wanted:
        sys.exit("hash mismatch")
    zipfile.ZipFile(wheel).extractall(next(venv.glob("lib/python*/site-packages")))
"""
SAYS_WHAT_IT_GOT = "import sys; print(*sys.argv[1:], sep='|'); sys.exit(7 if 'fail' in sys.argv else 0)\n"
REFUSED = "sayso: the packages could not be installed, see above; run it again when that is mended"


class SmallHouse:
    def __init__(self, root: Path) -> None:
        self.root, self.wheels, self.bin = root / "a house", root / "wheels", root / "bin"
        for folder in (self.root / "bot" / "cli", self.wheels, self.bin):
            folder.mkdir(parents=True)
        shutil.copy(HOUSE / "sayso", self.root)
        (self.root / "bot" / "__init__.py").touch()
        (self.root / "bot" / "cli" / "__init__.py").touch()
        (self.root / "bot" / "cli" / "__main__.py").write_text(SAYS_WHAT_IT_GOT)
        (self.root / "pytest.py").write_text(SAYS_WHAT_IT_GOT)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or "")
        (self.bin / "python3.11").symlink_to(sys.executable)
        self.lock(self.wheel("1.0"))

    def has_uv(self) -> SmallHouse:
        (self.bin / "uv").write_text(UV.format(python=sys.executable, wheels=str(self.wheels)))
        (self.bin / "uv").chmod(0o755)
        return self

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    def wheel(self, version: str) -> str:
        """A wheel with one module; answers its line of a lock."""
        path = self.wheels / f"rfc8785-{version}-py3-none-any.whl"
        info = f"rfc8785-{version}.dist-info"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("rfc8785.py", f"VERSION = {version!r}\n")
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: rfc8785\nVersion: {version}\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", f"rfc8785.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
        return f"rfc8785=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"

    def lock(self, line: str) -> None:
        (self.root / "requirements.lock").write_text(line)
        (self.root / "requirements-test.lock").write_text(line)

    def start(self, *args: str) -> subprocess.Popen[str]:
        environment = {
            "PATH": str(self.bin),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": self.wheels.as_uri(),
            "HOME": "/nonexistent",
        }
        return subprocess.Popen(
            [str(self.root / "sayso"), *args], cwd="/", env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *args: str) -> tuple[int, str, str]:
        started = self.start(*args)
        out, err = started.communicate(timeout=120)
        return started.returncode, out, err

    def installed(self) -> str:
        shown = subprocess.run(
            [self.venv / "bin" / "python", "-c", "import rfc8785; print(rfc8785.VERSION)"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return shown.stdout.strip()


@pytest.fixture
def house(tmp_path: Path) -> SmallHouse:
    return SmallHouse(tmp_path)


def test_with_pip_the_lock_is_installed_and_arguments_and_exit_code_are_handed_over(house: SmallHouse) -> None:
    assert house.run("ask", "two words") == (0, "ask|two words\n", "sayso: installing 1 packages into .venv\n")
    assert house.run("fail") == (7, "fail\n", ""), "the second start installs nothing"
    (house.root / "requirements-test.lock").write_text(house.wheel("2.0")[:-3] + "00\n")
    code, out, err = house.run("test", "-x")
    assert (code, out) == (1, "")
    assert "DO NOT MATCH THE HASHES" in err
    assert err.splitlines()[-1] == REFUSED


def test_two_first_starts_at_once_install_once(house: SmallHouse) -> None:
    both = [house.has_uv().start("one"), house.start("two")]
    ends = [(*started.communicate(timeout=120), started.returncode) for started in both]
    assert [(out, code) for out, _, code in ends] == [("one\n", 0), ("two\n", 0)]
    assert "".join(err for _, err, _ in ends) == "sayso: installing 1 packages into .venv\n"


def test_tests_with_arguments_run_only_pytest_on_top_of_what_is_installed(house: SmallHouse) -> None:
    house.has_uv().run("up")
    made_at = (house.venv / "pyvenv.cfg").stat().st_mtime_ns
    assert house.run("test", "-k", "one thing")[:2] == (0, "-k|one thing\n")
    assert (house.venv / "pyvenv.cfg").stat().st_mtime_ns == made_at
    assert house.run("test", "fail") == (7, "fail\n", "")


def test_a_changed_lock_is_installed_once_it_is_right(house: SmallHouse) -> None:
    house.has_uv().run("up")
    line = house.wheel("2.0")
    house.lock(line[:-3] + "00\n")
    assert house.run("up") == (1, "", f"sayso: installing 1 packages into .venv\nhash mismatch\n{REFUSED}\n")
    house.lock(line)
    assert house.run("up")[:2] == (0, "up\n")
    assert house.installed() == "2.0"


@pytest.mark.parametrize("harm", ["half-made", "dead", "moved"])
def test_a_venv_that_is_no_good_is_made_anew(house: SmallHouse, harm: str) -> None:
    house.has_uv().run("up")
    match harm:
        case "half-made":
            (house.venv / "requirements.lock.stamp").unlink()
            next(house.venv.glob("lib/python*/site-packages/rfc8785.py")).unlink()
        case "dead":
            (house.venv / "bin" / "python").unlink()
            (house.venv / "bin" / "python").symlink_to("/gone/python3.11")
        case "moved":
            house.root = house.root.rename(house.root.with_name("elsewhere"))
    assert house.run("up") == (0, "up\n", "sayso: installing 1 packages into .venv\n")
    assert house.installed() == "1.0"


def test_without_a_fitting_python_one_line_says_what_to_do(house: SmallHouse) -> None:
    (house.bin / "python3.11").unlink()
    (house.bin / "python3").write_text("#!/bin/sh\nexit 1\n")
    (house.bin / "python3").chmod(0o755)
    code, out, err = house.run("up")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "needs Python 3.11 or newer" in err
    assert "SAYSO_PYTHON=" in err


def locked(name: str) -> dict[str, str]:
    lines = (HOUSE / name).read_text().splitlines()
    pins = [Requirement(line.rstrip(" \\")) for line in lines if line and not line.startswith(" ")]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}


def test_the_locks_name_no_place_and_agree_with_the_project() -> None:
    runtime, test = locked("requirements.lock"), locked("requirements-test.lock")
    bench = locked("requirements-bench.lock")
    assert runtime.items() <= test.items(), "what is tested is what runs"
    assert runtime.items() <= bench.items(), "what is measured is what runs"
    for name in ("requirements.lock", "requirements-test.lock", "requirements-bench.lock"):
        text = (HOUSE / name).read_text()
        assert "://" not in text
        assert not [line for line in text.splitlines() if line.startswith(("-", "/", "#"))]
        assert text.count("==") <= text.count("--hash=sha256:")
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    for wanted, pins in (
        (project["project"]["dependencies"], runtime),
        (groups["test"], test),
        (groups["bench"], bench),
    ):
        for line in wanted:
            requirement = Requirement(line)
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), line


def test_ci_runs_what_the_readme_says_and_nothing_else() -> None:
    commands = [
        line
        for line in (HOUSE / ".ci" / "run").read_text().splitlines()
        if line and not line.startswith(("#", "set ", "cd "))
    ]
    assert commands == ["./sayso test"]
    assert os.access(HOUSE / ".ci" / "run", os.X_OK)
    assert "./sayso test" in (HOUSE / "README.md").read_text()
