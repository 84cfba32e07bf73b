"""Steps on a real journal, whose database another connection can lock."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from services.executor.source.journal import Journal, StoredOutcome, pack_request
from services.executor.source.journal_thread import JournalThread
from services.executor.source.outcome_log import LoggedOutcome
from services.executor.source.source_events import Request
from services.executor.source.source_steps import SourceStep, perform


def request(name: str) -> Request:
    return Request(name, 1, 0.0)


def finish(name: str) -> Callable[[Journal], None]:
    return lambda journal: journal.finish("s", request(name), StoredOutcome(b"done", "text"), 1.0)


def logged(name: str, size_bytes: int = 4) -> LoggedOutcome:
    return LoggedOutcome("s", pack_request(request(name)), b"done" * (size_bytes // 4), "text", 1.0)


@dataclass
class Bench:
    """A journal, and the actions that were taken, in order."""

    path: Path
    journal: JournalThread
    taken: list[str] = field(default_factory=list)
    has_acted: asyncio.Event = field(default_factory=asyncio.Event)

    def act(self, name: str) -> Callable[[], Awaitable[None]]:
        async def action() -> None:
            self.taken.append(name)
            self.has_acted.set()

        return action

    async def perform_locked(self, *steps: SourceStep) -> list[str]:
        """Perform steps, and return what was done while the journal could not be written."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            performing = asyncio.ensure_future(perform(steps, self.journal))
            await self.has_acted.wait()
            before = list(self.taken)
            database.execute("ROLLBACK")
        await performing
        return before

    async def outcomes(self) -> list[str]:
        _, outcomes = await self.journal.read(lambda journal: journal.restore("s", 2.0)) or ((), ())
        return [outcome.request_id for outcome in outcomes]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    path = tmp_path / "journal.db"
    async with asyncio.timeout(60), JournalThread.open(path) as journal:
        yield Bench(path, journal)


async def test_actions_follow_their_changes_in_order(bench: Bench) -> None:
    steps = [SourceStep(finish(name), bench.act(name)) for name in "abc"]
    await perform([SourceStep(action=bench.act("first")), *steps], bench.journal)
    assert bench.taken == ["first", "a", "b", "c"]
    assert await bench.outcomes() == ["a", "b", "c"]


async def test_only_early_steps_and_outcomes_in_the_log_go_before_the_journal(bench: Bench) -> None:
    before = await bench.perform_locked(
        SourceStep(finish("a"), bench.act("late")),
        SourceStep(finish("b"), bench.act("early"), is_early=True),
        SourceStep(finish("c"), bench.act("logged"), outcome=logged("c")),
    )
    assert before == ["early", "logged"]
    assert bench.taken == ["early", "logged", "late"]
    assert await bench.outcomes() == ["a", "b", "c"]
    assert bench.path.with_name("journal.db-outcomes").stat().st_size == 0


async def test_an_outcome_that_the_log_refuses_waits_for_the_journal(bench: Bench) -> None:
    large = logged("a", 2**20)
    before = await bench.perform_locked(
        SourceStep(finish("a"), bench.act("outcome"), outcome=large),
        SourceStep(action=bench.act("early"), is_early=True),
    )
    assert before == ["early"]
    assert bench.taken == ["early", "outcome"]
