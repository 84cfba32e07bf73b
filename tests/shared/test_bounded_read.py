from pathlib import Path

import pytest

from shared.bounded_read import read_at_most


def test_a_file_up_to_the_limit_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(3_000_000))
    assert read_at_most(path, 3_000_000) == bytes(3_000_000)
    with pytest.raises(OSError, match="it has 3000000 bytes, and at most 2999999 are read"):
        read_at_most(path, 2_999_999)


def test_what_has_no_end_is_left_at_the_limit() -> None:
    with pytest.raises(OSError, match="it has more than 10 bytes, and at most 10 are read"):
        read_at_most(Path("/dev/zero"), 10)
    assert read_at_most(Path("/dev/null"), 10) == b""
