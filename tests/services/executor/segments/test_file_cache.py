import os
from pathlib import Path

import pytest

from services.executor.segments.file_cache import make_room, note_use

SIZE = 8192


def fill(folder: Path, *names: str) -> None:
    """Write files of `SIZE` bytes, each used later than the one before."""
    folder.mkdir(exist_ok=True)
    for age, name in enumerate(names):
        (folder / name).write_bytes(bytes(range(256)) * (SIZE // 256))
        os.utime(folder / name, (1000 + age, 1000 + age))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_files_that_were_not_used_for_longest_go_first(tmp_path: Path) -> None:
    fill(tmp_path, "a.onnx", "b.packed", "c.packed", "notes.txt")
    note_use(tmp_path / "a.onnx")
    make_room(tmp_path, SIZE, 3 * SIZE, keep=tmp_path / "d.packed")
    assert names(tmp_path) == {"a.onnx", "c.packed", "notes.txt"}
    make_room(tmp_path, 0, 3 * SIZE, keep=tmp_path / "d.packed")
    assert names(tmp_path) == {"a.onnx", "c.packed", "notes.txt"}


def test_the_file_that_grows_is_kept(tmp_path: Path) -> None:
    fill(tmp_path, "a.packed", "b.packed")
    make_room(tmp_path, SIZE, 2 * SIZE, keep=tmp_path / "a.packed")
    assert names(tmp_path) == {"a.packed"}
    with pytest.raises(OSError, match="model files may take"):
        make_room(tmp_path, 2 * SIZE, 2 * SIZE, keep=tmp_path / "a.packed")
    assert names(tmp_path) == {"a.packed"}


def test_holes_take_no_space(tmp_path: Path) -> None:
    with (tmp_path / "a.packed").open("wb") as file:
        file.truncate(2**40)
    make_room(tmp_path, SIZE, 2 * SIZE, keep=tmp_path / "b.packed")
    assert names(tmp_path) == {"a.packed"}


def test_more_than_the_disk_has_is_refused_before_anything_is_removed(tmp_path: Path) -> None:
    fill(tmp_path, "a.packed")
    with pytest.raises(OSError, match="bytes are needed"):
        make_room(tmp_path / "models", 10**18, None, keep=tmp_path / "b.packed")
    assert names(tmp_path) == {"a.packed"}
    note_use(tmp_path / "nowhere")
