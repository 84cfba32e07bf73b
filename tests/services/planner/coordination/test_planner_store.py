"""Documents on disk."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.planner.coordination.planner_store import Document, Kind, PlannerStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PlannerStore]:
    opened = PlannerStore(tmp_path)
    yield opened
    opened.close()


def doc(key: str, value: bytes = b"x", kind: Kind = Kind.STREAM) -> Document:
    return Document(kind, key, value)


def test_documents_come_back_oldest_first(tmp_path: Path) -> None:
    first = PlannerStore(tmp_path)
    for key in ("a", "b", "c"):
        first.put(doc(key))
    first.put(doc("a", b"new"))
    first.put(doc("b", kind=Kind.PLAN))
    first.delete(Kind.STREAM, "c")
    first.delete(Kind.STREAM, "unknown")
    first.close()
    second = PlannerStore(tmp_path)
    assert second.documents() == (doc("b"), doc("a", b"new"), doc("b", kind=Kind.PLAN))
    second.close()


@pytest.mark.parametrize("damage", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_moved_aside_and_logged(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "planner.db").write_bytes(damage)
    (tmp_path / "planner.db.damaged-1").write_bytes(b"earlier")
    store = PlannerStore(tmp_path)
    store.put(doc("a"))
    assert store.documents() == (doc("a"),)
    store.close()
    assert (tmp_path / "planner.db.damaged-2").read_bytes() == damage
    assert (tmp_path / "planner.db.damaged-1").read_bytes() == b"earlier"
    assert "damaged" in caplog.text


def test_one_planner_at_a_time(store: PlannerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put(doc("a"))
    monkeypatch.setattr("services.planner.coordination.planner_store._LOCK_TIMEOUT_S", 0.1)
    with pytest.raises(OSError, match="another planner"):
        PlannerStore(tmp_path)
    assert store.documents() == (doc("a"),)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        PlannerStore(tmp_path / "file" / "data")


WRITER = """
import sys
from pathlib import Path
from services.planner.coordination.planner_store import Document, Kind, PlannerStore
store = PlannerStore(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    store.put(Document(Kind.EPOCH, "camera", str(number).encode()))
    print(number, flush=True)
"""


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(20)][-1]
        os.kill(writer.pid, signal.SIGKILL)
        told = max([told, *(int(line) for line in writer.stdout if line.strip())])
    store = PlannerStore(tmp_path)
    (document,) = store.documents()
    assert int(document.value) >= told
    store.close()
