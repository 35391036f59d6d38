"""Takes one rule out for a while: replaces an exact piece of text of one function, in a test's database or process.

A SQL function is written anew with `create or replace` in the database that it is given; of a Python function only the code
is exchanged, so that whoever imported it runs the mutant too. Both are put back as they were. A text that does not stand there
exactly once is an error of the test: the rule has moved, and its row has to follow.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FunctionType

from core.db import Pool


@asynccontextmanager
async def mutated(db: Pool, where: str, was: str, now: str) -> AsyncIterator[None]:
    """`where` is a SQL function, or a Python one as `core.texting:_decide`."""
    if ":" in where:
        with _python(where, was, now):
            yield
        return
    definition = await text_of(db, where)
    await db.execute(replaced(definition, where, was, now))
    try:
        yield
    finally:
        await db.execute(definition)


async def text_of(db: Pool, where: str) -> str:
    """What the function says now; nothing where there is none."""
    if ":" in where:
        return inspect.getsource(_function(where))
    found = await db.fetchval("select pg_get_functiondef(oid) from pg_proc where proname = $1", where)
    return str(found or "")


def _function(where: str) -> FunctionType:
    name, _, function = where.partition(":")
    found = getattr(importlib.import_module(name), function)
    assert isinstance(found, FunctionType), f"{where} is no function"
    return found


def replaced(text: str, where: str, was: str, now: str) -> str:
    count = text.count(was)
    assert count == 1, f"{was!r} stands {count} times in {where}"
    return text.replace(was, now)


@contextmanager
def _python(where: str, was: str, now: str) -> Iterator[None]:
    original = _function(where)
    scope = dict(original.__globals__)
    source = replaced(inspect.getsource(original), where, was, now)
    exec(compile(f"from __future__ import annotations\n{source}", f"<mutant of {where}>", "exec"), scope)
    code, original.__code__ = original.__code__, scope[original.__name__].__code__
    try:
        yield
    finally:
        original.__code__ = code
