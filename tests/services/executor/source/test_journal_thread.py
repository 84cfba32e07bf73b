import asyncio
import itertools
import sqlite3
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgpack
import pytest

from services.executor.source.journal import Journal, StoredOutcome, pack_request
from services.executor.source.journal_thread import JournalThread
from services.executor.source.outcome_log import LoggedOutcome
from services.executor.source.payload_files import MIN_FILE_BYTES
from services.executor.source.source_events import Request
from shared.exit_status import InputError


def accept(journal: Journal) -> None:
    journal.accept("s", Request("r", 1, 0.0), b"x", 0.0)


async def test_calls_run_on_one_other_thread(tmp_path: Path) -> None:
    async with JournalThread.open(tmp_path / "j.sqlite") as journal:
        threads = {await journal.read(lambda _: threading.get_ident()) for _ in range(3)}
        await journal.write(accept)
        assert await journal.read(lambda book: book.payload("s", "r")) == b"x"
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_a_journal_that_cannot_be_opened_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be opened"):
        async with JournalThread.open(tmp_path / "file" / "j.sqlite"):
            raise AssertionError("it was opened")


async def test_a_change_waits_until_the_file_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    refused = asyncio.Event()
    loop = asyncio.get_running_loop()
    may_pass = threading.Event()

    def change(journal: Journal) -> None:
        if not may_pass.is_set():
            loop.call_soon_threadsafe(refused.set)
            raise sqlite3.OperationalError("database or disk is full")
        accept(journal)

    async with asyncio.timeout(20), JournalThread.open(path) as journal:
        writing = asyncio.ensure_future(journal.write(change))
        await refused.wait()
        assert await journal.read(lambda book: book.payload("s", "r")) is None
        may_pass.set()
        await writing
        assert await journal.read(lambda book: book.payload("s", "r")) == b"x"


async def test_a_file_that_breaks_while_open_is_replaced_and_the_change_kept(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    broken = threading.Event()

    def change(journal: Journal) -> None:
        if not broken.is_set():
            broken.set()
            raise sqlite3.DatabaseError("database disk image is malformed")
        accept(journal)

    async with asyncio.timeout(20), JournalThread.open(path) as journal:
        await journal.write(change)
        assert await journal.read(lambda book: book.payload("s", "r")) == b"x"
    assert await asyncio.to_thread(lambda: list(tmp_path.glob("j.sqlite.damaged-*")))


async def test_checkpoints_run_beside_the_writes(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    # Larger ones are in files beside it.
    payload = bytes(MIN_FILE_BYTES - 1)

    def change(journal: Journal, number: int) -> None:
        journal.accept("s", Request(f"r{number}", len(payload), 0.0), payload, 0.0)

    async with asyncio.timeout(60), JournalThread.open(path) as journal:
        for number in itertools.count():
            await journal.write(partial(change, number=number))
            # Without checkpoints of its own the database would never have a payload: all would be in the log.
            if (await asyncio.to_thread(path.stat)).st_size >= 4_000_000:
                break
        assert await journal.read(lambda book: book.payload("s", "r0")) == payload
    assert await asyncio.to_thread(lambda: Journal.open(path).payload("s", f"r{number}")) == payload


async def test_a_logged_outcome_survives_a_crash_before_its_transaction(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    logged = LoggedOutcome("s", pack_request(Request("r", 1, 0.0)), b"done", "text", 1.0)
    async with JournalThread.open(path) as journal:
        await journal.write(accept)
        assert journal.log_outcomes([logged])
    for _ in range(2):
        async with JournalThread.open(path) as journal:
            requests, outcomes = await journal.read(lambda opened: opened.restore("s", 2.0)) or ((), ())
            assert not requests
            # It may not have been published.
            assert [(each.request_id, each.unpublished is not None) for each in outcomes] == [("r", True)]
            assert await journal.read(lambda opened: opened.outcome("s", "r")) == StoredOutcome(b"done", "text")
    assert (tmp_path / "j.sqlite-outcomes").stat().st_size == 0


@pytest.mark.parametrize("request_bytes", [b"\x05", b"\xc1", msgpack.packb({"of_a_later_release": 1})])
async def test_an_outcome_that_cannot_be_read_keeps_no_device_from_starting(
    tmp_path: Path, request_bytes: bytes
) -> None:
    path = tmp_path / "j.sqlite"
    good = LoggedOutcome("s", pack_request(Request("r", 1, 0.0)), b"done", "text", 1.0)
    async with JournalThread.open(path) as journal:
        assert journal.log_outcomes([replace(good, request=request_bytes), good])
    async with JournalThread.open(path) as journal:
        assert await journal.read(lambda opened: opened.outcome("s", "r")) == StoredOutcome(b"done", "text")


async def test_the_log_is_kept_until_all_of_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    log = tmp_path / "j.sqlite-outcomes"
    async with JournalThread.open(path) as journal:
        requests = [pack_request(Request(name, 1, 0.0)) for name in "ab"]
        assert journal.log_outcomes([LoggedOutcome("s", each, b"done", "text", 1.0) for each in requests])
        await journal.write(lambda opened: None, logged=1)
        assert log.stat().st_size > 0
        await journal.write(lambda opened: None, logged=1)
        assert log.stat().st_size == 0
