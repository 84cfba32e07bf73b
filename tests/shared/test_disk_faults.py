import asyncio
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from shared.bus import topics
from shared.bus.connection import Connection
from shared.disk_faults import disk_fault, open_on_disk, until_disk_allows
from shared.duplicate_names import NameClaim
from shared.messages.devices import ServicePresence, State
from tests.support.small_disks import SmallDisk, can_mount, small_disks

WAIT_S = 30.0
needs_disks = pytest.mark.skipif(not can_mount(), reason="mounting a disk needs root and loop devices")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disks({tmp_path / "data": 4 << 20}) as disks:
        yield disks["data"]


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (OSError(errno.ENOSPC, ""), "the disk is full"),
        (OSError(errno.EROFS, ""), "the disk is read-only"),
        (OSError(errno.EIO, ""), "the disk fails"),
        (OSError(errno.EACCES, ""), None),
        (OSError("without a number"), None),
        (sqlite_error(sqlite3.SQLITE_FULL), "the disk is full"),
        (sqlite_error(sqlite3.SQLITE_READONLY), "the disk is read-only"),
        (sqlite_error(sqlite3.SQLITE_READONLY | 4 << 8), "the disk is read-only"),
        (sqlite_error(sqlite3.SQLITE_IOERR | 3 << 8), "the disk fails"),
        (sqlite_error(sqlite3.SQLITE_CANTOPEN), None),
        (sqlite_error(sqlite3.SQLITE_ERROR), None),
    ],
)
def test_a_fault_is_named_in_words(
    error: OSError | sqlite3.OperationalError, fault: str | None, tmp_path: Path
) -> None:
    assert disk_fault(error, tmp_path) == fault


async def test_an_error_with_another_cause_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        await open_on_disk(lambda: os.listdir(tmp_path / "file"), tmp_path)


@needs_disks
@pytest.mark.parametrize("kind", ["full", "read-only"])
async def test_a_database_on_a_real_disk_goes_on_after_its_fault(disk: SmallDisk, kind: str) -> None:
    database = sqlite3.connect(disk.folder / "d.sqlite", isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE kept (value BLOB)")
    told: list[str] = []
    is_told = asyncio.Event()

    async def tell(fault: str) -> None:
        told.append(fault)
        is_told.set()

    async def write() -> None:
        await asyncio.to_thread(database.execute, "INSERT INTO kept VALUES (randomblob(65536))")

    await (disk.fill() if kind == "full" else disk.fail())
    async with asyncio.timeout(WAIT_S):
        writing = asyncio.ensure_future(until_disk_allows(write, disk.folder, tell))
        await is_told.wait()
        assert not writing.done()
        if kind == "full":
            await disk.empty()
            await writing
            assert told == [f"the disk is full: {disk.folder}", ""]
        else:
            writing.cancel()
            assert told == [f"the disk is read-only: {disk.folder}"]
    database.close()


@needs_disks
async def test_a_service_that_starts_on_a_full_disk_waits_and_its_presence_says_so(disk: SmallDisk) -> None:
    presence = ServicePresence(name="planner", role="planner", state=State.ONLINE)
    topic = topics.service_presence("planner")
    await disk.fill()

    def make() -> Path:
        path = disk.folder / "file"
        path.write_bytes(bytes(65_536))
        return path

    async with (
        asyncio.timeout(WAIT_S),
        EmbeddedBroker() as broker,
        Connection.open(broker.settings) as connection,
    ):
        await connection.subscribe(topic)
        claim = NameClaim.of_service(presence, "")
        opening = asyncio.ensure_future(open_on_disk(make, disk.folder, broker.settings, claim))
        said = ServicePresence.decode((await anext(connection)).payload)
        assert (said.state, said.trouble) == (State.OFFLINE, f"the disk is full: {disk.folder}")
        await disk.empty()
        assert (await opening).stat().st_size == 65_536
