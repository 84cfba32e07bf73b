"""A partial file: written in any order, noted at once, resumed, discarded, kept. A sparse file: filled in parts."""

import hashlib
import random
from pathlib import Path

import pytest

from shared.bus.model_files.partial_file import PartialFile, SparseFile
from shared.bus.model_files.pieces import ByteRange, PieceDigests

DATA = random.Random(2).randbytes(1000)
WHOLE = PieceDigests(1000, 1000, (hashlib.sha256(DATA).digest(),))
PIECES = PieceDigests(1000, 100, tuple(hashlib.sha256(DATA[at : at + 100]).digest() for at in range(0, 1000, 100)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models" / "net.onnx"


def test_pieces_in_any_order_make_the_file(path: Path) -> None:
    partial = PartialFile.open(path, "pi", WHOLE)
    for offset in (700, 0, 350):
        partial.write(offset, DATA[offset : offset + 350])
    assert partial.received == (ByteRange(0, 1000),)
    assert partial.damaged(partial.received) == ()
    partial.keep()
    partial.close()
    assert path.read_bytes() == DATA
    assert list(path.parent.iterdir()) == [path]


def test_what_was_written_is_noted_without_closing(path: Path) -> None:
    killed = PartialFile.open(path, "pi", WHOLE)
    killed.write(0, DATA[:300])
    killed.write(600, DATA[600:800])
    resumed = PartialFile.open(path, "pi", WHOLE)
    assert resumed.received == (ByteRange(0, 300), ByteRange(600, 800))
    other = PartialFile.open(path, "server", WHOLE)
    assert other.received == ()
    for partial in (killed, resumed, other):
        partial.close()


@pytest.mark.parametrize("note", ["", "nonsense", "[[1]]", '{"a": 1}', "[[0, null]]"])
def test_a_note_that_cannot_be_read_means_nothing_is_there(path: Path, note: str) -> None:
    first = PartialFile.open(path, "pi", WHOLE)
    first.write(0, DATA)
    first.close()
    first.note.write_text(note)
    again = PartialFile.open(path, "pi", WHOLE)
    assert again.received == ()
    again.close()


def test_a_note_without_its_file_means_nothing_is_there(path: Path) -> None:
    first = PartialFile.open(path, "pi", WHOLE)
    first.write(0, DATA)
    first.close()
    first.path.unlink()
    again = PartialFile.open(path, "pi", WHOLE)
    assert again.received == ()
    again.close()


def test_discarding_forgets_everything(path: Path) -> None:
    partial = PartialFile.open(path, "pi", WHOLE)
    partial.write(0, DATA)
    partial.discard(partial.received)
    assert partial.received == ()
    partial.close()
    again = PartialFile.open(path, "pi", WHOLE)
    assert again.received == ()
    again.close()


def test_a_write_that_comes_late_does_nothing(path: Path) -> None:
    """A cancelled transfer's thread may still be on its way."""
    partial = PartialFile.open(path, "pi", WHOLE)
    partial.close()
    partial.write(0, DATA)
    partial.close()
    assert partial.received == ()
    assert partial.path.stat().st_size == 0


def test_more_than_the_disk_has_is_refused_at_once(path: Path) -> None:
    with pytest.raises(OSError, match="bytes are needed and"):
        PartialFile.open(path, "pi", PieceDigests(10**18, 10**18, (bytes(32),)))


def test_a_sparse_file_knows_its_pieces_without_a_note(path: Path) -> None:
    wanted = (ByteRange(250, 460),)
    first = SparseFile.open(path, PIECES, wanted)
    assert first.received == ()
    first.write(200, DATA[200:400])
    first.write(400, b"wrong")
    assert first.damaged(PIECES.covering(wanted)) == (ByteRange(400, 500),)
    first.close()
    again = SparseFile.open(path, PIECES, (ByteRange(0, 1000),))
    assert again.received == (ByteRange(200, 400),)
    again.write(0, DATA)
    again.keep()
    again.close()
    assert list(path.parent.iterdir()) == [path]
    whole = SparseFile.open(path, PIECES, (ByteRange(0, 1000),))
    assert whole.received == (ByteRange(0, 1000),)
    whole.close()


def test_two_processes_fill_one_sparse_file(path: Path) -> None:
    mine = SparseFile.open(path, PIECES, (ByteRange(0, 500),))
    theirs = SparseFile.open(path, PIECES, (ByteRange(300, 1000),))
    mine.write(0, DATA[:500])
    theirs.write(300, DATA[300:])
    assert path.read_bytes() == DATA
    mine.close()
    theirs.close()
