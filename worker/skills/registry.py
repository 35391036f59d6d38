"""Finds every skill: the built-in ones, those of installed packages, and files in `$SAYSO_HOME/skills/`.

A file or package that cannot be read is left out and reported by name; it never takes the worker down. Two skills
of one name are refused, the first found stays. What others may know of a skill is its manifest.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from core.models import SkillManifest
from worker.skills.errors import BadDeclaration
from worker.skills.run import Skill, undo_skill
from worker.skills.skill import Declaration

BUILT_IN: Final = ("files", "http", "email", "note", "attachment")
GROUP: Final = "sayso.skills"
FILES_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class Problem:
    """A source of skills that was left out, in whole or in part, and why."""

    source: str
    why: str


@dataclass(slots=True)
class Registry:
    """All skills by name. `settings` is the `skills:` part of sayso.yaml, by namespace."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    _skills: dict[str, Skill] = field(default_factory=dict)
    _sources: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, home: Path, organisation_skill_settings: Mapping[str, Any] | None = None) -> Registry:
        """Read all sources. Only a broken built-in skill raises; `problems` holds what else was left out."""
        registry = cls(dict(organisation_skill_settings or {}))
        for name in BUILT_IN:
            module = importlib.import_module(f"worker.skills.{name}")
            for declared in declarations(module):
                registry.add(declared, f"built-in {name}")
        registry.add_all((f"package {point.value}", point) for point in entry_points(group=GROUP))
        registry.add_all((str(path), path) for path in registry._files(home / "skills"))
        return registry

    def get(self, name: str, version: str | None = None) -> Skill | None:
        """The skill of this name; None when there is none, or only another version."""
        found = self._skills.get(name)
        return found if found and version in (None, found.manifest.version) else None

    def manifests(self) -> list[SkillManifest]:
        return [self._skills[name].manifest for name in sorted(self._skills)]

    def settings_of(self, name: str) -> Mapping[str, Any]:
        """The organisation's settings for a skill's namespace, for `SkillContext.settings`."""
        found = self.settings.get(name.partition(".")[0])
        return found if isinstance(found, Mapping) else {}

    def add(self, declared: Declaration, source: str) -> None:
        """Raises BadDeclaration when it is incomplete or its name is taken."""
        one = declared.finished()
        for each in (one, undo_skill(one)) if one.manifest.has_undo else (one,):
            name = each.manifest.name
            if name in self._skills:
                raise BadDeclaration(f"{name} is there already, from {self._sources[name]}; choose another name")
            self._skills[name] = each
            self._sources[name] = source

    def add_all(self, sources: Iterable[tuple[str, EntryPoint | Path]]) -> None:
        for source, where in sources:
            try:
                found = list(declarations(where.load() if isinstance(where, EntryPoint) else loaded(where)))
            # A skill file is somebody's program: it may raise anything, even end the process with sys.exit().
            except (Exception, SystemExit) as error:
                self.problems.append(Problem(source, f"{type(error).__name__}: {error}"))
                continue
            if not found:
                self.problems.append(Problem(source, "holds no skill; decorate an async function with @skill(…)"))
            for declared in found:
                try:
                    self.add(declared, source)
                except BadDeclaration as error:
                    self.problems.append(Problem(source, str(error)))

    def _files(self, folder: Path) -> Iterator[Path]:
        if not folder.is_dir():
            return
        for n, path in enumerate(sorted(folder.glob("*.py"))):
            if path.name.startswith((".", "_")) or path.is_symlink():
                continue
            why = why_unsafe(folder) or why_unsafe(path) if n < FILES_MOST else f"more than {FILES_MOST} files"
            if why:
                self.problems.append(Problem(str(path), why))
            else:
                yield path


def why_unsafe(path: Path) -> str:
    """Code that others could have written is not run as ours."""
    facts = path.lstat()
    if facts.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to another user"
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{path} can be written by others; chmod go-w"
    if not (stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)):
        return f"{path} is no regular file"
    return "" if path.is_dir() or path.stem.isidentifier() else f"{path.name} is no module name; use letters and _"


def loaded(path: Path) -> ModuleType:
    """The module of a skill file; its namespace is the file's name."""
    name = f"sayso_skills.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be read as a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def declarations(source: object) -> Iterator[Declaration]:
    """Skills declared in a module (not those that it imports), or a single one, or a list of them."""
    if isinstance(source, Declaration):
        yield source
    elif isinstance(source, ModuleType):
        for value in vars(source).values():
            if isinstance(value, Declaration) and value.__module__ == source.__name__:
                yield value
    elif isinstance(source, list | tuple):
        for value in source:
            yield from declarations(value)
