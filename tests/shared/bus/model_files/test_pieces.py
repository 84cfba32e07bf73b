import hashlib
import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from shared.bus.model_files.pieces import (
    ByteRange,
    PieceDigests,
    count_bytes,
    digest_pieces,
    merge_ranges,
    subtract_ranges,
)
from shared.messages.models import FilePacking, Manifest, ManifestBlock

DATA = random.Random(5).randbytes(3500)
RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda ends: ByteRange(*ends)))


def packed(path: Path) -> PieceDigests:
    """Write `DATA` and return its pieces of 1024 bytes, as a manifest lists them."""
    path.write_bytes(DATA)
    packing = FilePacking(graph_start=3000, piece_bytes=1024, piece_sha256=b"".join(digest_pieces(path, 1024)))
    return PieceDigests.of(manifest(packing))


def manifest(packing: FilePacking | None) -> Manifest:
    block = ManifestBlock(name="b", output_bytes=1)
    model = hashlib.sha256(DATA).hexdigest()
    return Manifest(
        model=model, name="net", size_bytes=len(DATA), inputs=(), outputs=(), blocks=(block,), packing=packing
    )


def every_byte(ranges: tuple[ByteRange, ...] | list[ByteRange]) -> list[int]:
    return [byte for piece in ranges for byte in range(piece.start, piece.stop)]


@given(RANGES, RANGES)
def test_ranges_are_sets_of_bytes(ranges: list[ByteRange], others: list[ByteRange]) -> None:
    held = set(every_byte(ranges))
    assert every_byte(merge_ranges(ranges)) == sorted(held)
    assert every_byte(subtract_ranges(ranges, others)) == sorted(held - set(every_byte(others)))
    assert count_bytes(merge_ranges(ranges)) == len(held)


def test_a_file_without_a_list_of_pieces_is_one_piece(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    pieces = PieceDigests.of(manifest(None))
    assert pieces.covering([ByteRange(7, 8)]) == (ByteRange(0, 3500),)
    assert pieces.damaged(tmp_path / "f", [ByteRange(0, 3500)]) == ()


def test_only_the_pieces_that_contain_wanted_bytes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "f"
    pieces = packed(path)
    path.write_bytes(DATA[:1024] + bytes(1024) + DATA[2048:])
    assert pieces.covering([ByteRange(1000, 1025), ByteRange(3400, 3500)]) == (
        ByteRange(0, 2048),
        ByteRange(3072, 3500),
    )
    assert pieces.covering([ByteRange(5, 5)]) == ()
    assert pieces.damaged(path, [ByteRange(0, 1024), ByteRange(2048, 3500)]) == ()
    assert pieces.damaged(path, [ByteRange(0, 3500)]) == (ByteRange(1024, 2048),)


def test_holes_and_missing_ends_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "f"
    pieces = packed(path)
    with path.open("wb") as file:
        file.truncate(2000)
    assert pieces.damaged(path, [ByteRange(0, 3500)]) == (ByteRange(0, 3500),)
    path.write_bytes(DATA[:3400])
    assert pieces.damaged(path, [ByteRange(0, 3500)]) == (ByteRange(3072, 3500),)
