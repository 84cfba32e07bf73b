"""Bound on the space of the cached model files: those that were not used for longest are removed."""

import logging
import os
import shutil
from pathlib import Path
from typing import Final

_LOGGER = logging.getLogger(__name__)

# Share of the disk, what others use left out, that the files may take where no limit is set.
_DISK_SHARE: Final = 0.9
_SUFFIXES: Final = (".onnx", ".packed", ".part")
_BLOCK_BYTES: Final = 512


def make_room(folder: Path, needed_bytes: int, limit_bytes: int | None, *, keep: Path) -> None:
    """Remove the files that were not used for longest, until there is room for more bytes.

    A removed file stays readable for the sessions that have mapped it.

    Args:
        folder: of the files; it need not exist.
        needed_bytes: bytes that will be written.
        limit_bytes: bound on the space of all files; None for most of the disk.
        keep: file that is not removed.

    Raises:
        OSError: there is no room even without the other files.
    """
    files = sorted(_files(folder), key=lambda entry: entry[1].st_mtime)
    taken_bytes = sum(_space_bytes(status) for _, status in files)
    free_bytes = shutil.disk_usage(_existing(folder)).free
    bound_bytes = int(_DISK_SHARE * (taken_bytes + free_bytes))
    if limit_bytes is not None:
        bound_bytes = min(bound_bytes, limit_bytes)
    kept_bytes = sum(_space_bytes(status) for path, status in files if path == keep)
    if kept_bytes + needed_bytes > bound_bytes:
        raise OSError(f"{kept_bytes + needed_bytes} bytes are needed, and model files may take {bound_bytes}")
    for path, status in files:
        if taken_bytes + needed_bytes <= bound_bytes:
            return
        if path != keep:
            _LOGGER.info("removing the model file %s to make room", path.name)
            path.unlink(missing_ok=True)
            taken_bytes -= _space_bytes(status)


def space_of(path: Path) -> int:
    """Return the bytes that a file takes on the disk, without its holes; 0 if it does not exist."""
    try:
        return _space_bytes(path.stat())
    except OSError:
        return 0


def note_use(path: Path) -> None:
    """Note that a file is in use now."""
    try:
        os.utime(path)
    except OSError as error:
        _LOGGER.debug("the use of %s is not noted: %s", path, error)


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    found = []
    for path in folder.glob("*"):
        try:
            if path.suffix in _SUFFIXES and path.is_file():
                found.append((path, path.stat()))
        except OSError:  # Another process has removed it.
            continue
    return found


def _space_bytes(status: os.stat_result) -> int:
    # Holes take no space.
    return status.st_blocks * _BLOCK_BYTES


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
