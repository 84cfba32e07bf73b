"""Files with secrets: their mode, and what is left beside them."""

import stat
from pathlib import Path

import pytest

from shared.secret_files import write_secret


def test_files_are_private_and_replace_open_ones(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("before")
    path.chmod(0o666)
    write_secret(path, "after")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("after", 0o600)
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        write_secret(path, "secret")
    assert [each.name for each in tmp_path.iterdir()] == ["x"]
