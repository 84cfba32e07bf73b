"""Checks of output paths."""

from pathlib import Path

import pytest

from services.cli.support.output_files import check_file, make_folder
from shared.exit_status import InputError


def test_a_file_that_can_be_written_is_left_alone(tmp_path: Path) -> None:
    there = tmp_path / "there.json"
    there.write_text("kept")
    check_file("--out", there)
    check_file("--out", tmp_path / "new.json")
    check_file("--out", None)
    assert [path.name for path in tmp_path.iterdir()] == ["there.json"]
    assert there.read_text() == "kept"


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        (".", "that is a folder; name a file in it"),
        ("missing/c.json", "there is no folder .*missing; make it first"),
        ("a file/c.json", "there is no folder .*a file; make it first"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_is_in_the_way_of_a_file_is_said(tmp_path: Path, place: str, complaint: str) -> None:
    (tmp_path / "a file").touch()
    with pytest.raises(InputError, match=rf"^--out .*: {complaint}"):
        check_file("--out", tmp_path / place)


def test_a_folder_is_made_or_what_is_in_its_way_is_said(tmp_path: Path) -> None:
    make_folder("--outputs", tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    make_folder("--outputs", tmp_path / "a")
    make_folder("--outputs", None)
    (tmp_path / "a file").touch()
    with pytest.raises(InputError, match=r"^--outputs .*a file: File exists"):
        make_folder("--outputs", tmp_path / "a file")
