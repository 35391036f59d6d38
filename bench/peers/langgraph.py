"""LangGraph: a compiled graph with the Postgres checkpointer on a pool, durability "sync".

"sync" persists each step before the next one starts, as all others here do; "async" and "exit" promise less. The saver
holds one lock around its connection, so a pool does not make its runs parallel. Starting a run is part of its figures:
it has no queue. https://docs.langchain.com/oss/python/langgraph/durable-execution and
https://github.com/langchain-ai/langgraph/tree/main/libs/checkpoint-postgres (autocommit, prepare_threshold, dict_row)
"""

from __future__ import annotations

import asyncio
import operator
import uuid
from contextlib import AsyncExitStack
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from bench.ledger import Ledger
from bench.peers import PAYLOAD, Load, Shape, Site


class State(TypedDict):
    task: str
    payloads: Annotated[list[str], operator.add]


class LangGraph:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._stack = AsyncExitStack()
        self._graph: Any = None

    async def _saver(self, connections: int) -> AsyncPostgresSaver:
        pool: Any = AsyncConnectionPool(
            self._site.dsn, min_size=connections, max_size=connections, open=False,
            kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
        )  # fmt: skip
        await self._stack.enter_async_context(pool)
        return AsyncPostgresSaver(pool)

    async def install(self) -> None:
        await (await self._saver(1)).setup()
        await self._stack.aclose()

    async def seed(self, load: Load) -> None:
        self._graph = graph_of(load.steps, load.shape, Ledger(self._site.ledger)).compile(
            checkpointer=await self._saver(load.concurrency)
        )

    async def drain(self, load: Load) -> None:
        tasks = iter([uuid.uuid4().hex for _ in range(load.tasks)])

        async def one_after_another() -> None:
            for task in tasks:
                await self._run(task, {"task": task, "payloads": []})

        await asyncio.gather(*(one_after_another() for _ in range(load.concurrency)))

    async def close(self) -> None:
        await self._stack.aclose()

    async def _run(self, task: str, given: Any) -> None:
        await self._graph.ainvoke(
            given, {"configurable": {"thread_id": task}, "recursion_limit": 100}, durability="sync"
        )

    # ------------------------------------------------------------ a press

    async def open_presser(self) -> None:
        """In the process that resumes: a graph is carried on by whoever invokes it."""
        book = Ledger(self._site.ledger)

        def before(state: State) -> dict[str, Any]:
            book.note(state["task"], 1)
            return {"payloads": [PAYLOAD]}

        def ask(state: State) -> dict[str, Any]:
            interrupt("may it?")
            return {}

        def after(state: State) -> dict[str, Any]:
            book.note(state["task"], 2)
            return {"payloads": [PAYLOAD]}

        graph = StateGraph(State)
        graph.add_sequence([("before", before), ("ask", ask), ("after", after)])
        graph.add_edge(START, "before")
        self._graph = graph.compile(checkpointer=await self._saver(2))

    async def pause(self, task: str) -> None:
        await self._run(task, {"task": task, "payloads": []})

    async def press(self, task: str) -> None:
        await self._run(task, Command(resume="yes"))


def graph_of(steps: int, shape: Shape, book: Ledger) -> StateGraph[State]:
    def node(n: int) -> Any:
        async def body(state: State) -> dict[str, Any]:
            book.note(state["task"], n)
            return {"payloads": [PAYLOAD]}

        return body

    graph = StateGraph(State)
    for n in range(1, steps + 1):
        graph.add_node(str(n), node(n))
    graph.add_edge(START, "1")
    if shape == "chain":
        for n in range(2, steps + 1):
            graph.add_edge(str(n - 1), str(n))
    else:
        middle = [str(n) for n in range(2, steps)]
        for name in middle:
            graph.add_edge("1", name)
        graph.add_edge(middle, str(steps))
    graph.add_edge(str(steps), END)
    return graph


def open_system(site: Site) -> LangGraph:
    return LangGraph(site)
