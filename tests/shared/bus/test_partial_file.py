"""A partial file: written in any order, noted at once, resumed, discarded, kept."""

import hashlib
import random
from pathlib import Path

import pytest

from shared.bus.model_transfer import ByteRange
from shared.bus.partial_file import PartialFile

DATA = random.Random(2).randbytes(1000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models" / "net.onnx"


def test_pieces_in_any_order_make_the_file(path: Path) -> None:
    partial = PartialFile.open(path, "pi", len(DATA))
    for offset in (700, 0, 350):
        partial.write(offset, DATA[offset : offset + 350])
    assert partial.received == (ByteRange(0, 1000),)
    assert partial.digest() == hashlib.sha256(DATA).hexdigest()
    partial.keep(path)
    partial.close()
    assert path.read_bytes() == DATA
    assert list(path.parent.iterdir()) == [path]


def test_what_was_written_is_noted_without_closing(path: Path) -> None:
    killed = PartialFile.open(path, "pi", len(DATA))
    killed.write(0, DATA[:300])
    killed.write(600, DATA[600:800])
    resumed = PartialFile.open(path, "pi", len(DATA))
    assert resumed.received == (ByteRange(0, 300), ByteRange(600, 800))
    other = PartialFile.open(path, "server", len(DATA))
    assert other.received == ()
    for partial in (killed, resumed, other):
        partial.close()


@pytest.mark.parametrize("note", ["", "nonsense", "[[1]]", '{"a": 1}', "[[0, null]]"])
def test_a_note_that_cannot_be_read_means_nothing_is_there(path: Path, note: str) -> None:
    first = PartialFile.open(path, "pi", len(DATA))
    first.write(0, DATA)
    first.close()
    first.note.write_text(note)
    again = PartialFile.open(path, "pi", len(DATA))
    assert again.received == ()
    again.close()


def test_a_note_without_its_file_means_nothing_is_there(path: Path) -> None:
    first = PartialFile.open(path, "pi", len(DATA))
    first.write(0, DATA)
    first.close()
    first.path.unlink()
    again = PartialFile.open(path, "pi", len(DATA))
    assert again.received == ()
    again.close()


def test_discarding_forgets_everything(path: Path) -> None:
    partial = PartialFile.open(path, "pi", len(DATA))
    partial.write(0, DATA)
    partial.discard()
    assert partial.received == ()
    assert partial.path.stat().st_size == 0
    partial.close()
    again = PartialFile.open(path, "pi", len(DATA))
    assert again.received == ()
    again.close()


def test_a_write_that_comes_late_does_nothing(path: Path) -> None:
    """A cancelled transfer's thread may still be on its way."""
    partial = PartialFile.open(path, "pi", len(DATA))
    partial.close()
    partial.write(0, DATA)
    partial.close()
    assert partial.received == ()
    assert partial.path.stat().st_size == 0


def test_more_than_the_disk_has_is_refused_at_once(path: Path) -> None:
    with pytest.raises(OSError, match="bytes are needed and"):
        PartialFile.open(path, "pi", 10**18)
