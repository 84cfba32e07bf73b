"""Tiles that a user chooses with options, as text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from shared.exit_status import InputError
from shared.row_ranges import RowRange

if TYPE_CHECKING:
    from shared.model.onnx_file import TileChoice


def read_tile_choice(count: int | None, rows: Sequence[str] | None) -> "TileChoice | None":
    """Return the choice of `--tiles` and `--rows`; None if neither is given.

    Raises:
        InputError: both are given, or `rows` has another form than `0:80,80:224` or `1=0:80,80:224`.
    """
    from shared.model.onnx_file import TileChoice

    if count is not None and rows:
        raise InputError("--tiles makes tiles of equal height, and --rows names their rows: give one of them")
    if count is not None:
        return TileChoice(count=count)
    if not rows:
        return None
    ranges: dict[int | None, tuple[RowRange, ...]] = {}
    for text in rows:
        segment, given = _read_rows(text)
        if segment in ranges:
            raise InputError(f"--rows is given twice for {'one' if segment is None else f'segment {segment}'}")
        ranges[segment] = given
    if None in ranges and len(ranges) > 1:
        raise InputError("--rows of several segments need the number of each: SEGMENT=TOP:BOTTOM,...")
    return TileChoice(ranges=ranges)


def _read_rows(text: str) -> tuple[int | None, tuple[RowRange, ...]]:
    segment, equals, rest = text.rpartition("=")
    try:
        ranges = tuple(_read_range(part) for part in rest.split(","))
        return int(segment) if equals else None, ranges
    except ValueError:
        raise InputError(f"--rows {text!r} is not of the form 0:80,80:224 or SEGMENT=0:80,80:224") from None


def _read_range(text: str) -> RowRange:
    top, bottom = text.split(":")
    return int(top), int(bottom)
