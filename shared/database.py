"""SQLite files that turn out to be damaged: kept for people, out of the way of a new one."""

from pathlib import Path


def move_aside(path: Path) -> Path:
    """Rename a database and what SQLite keeps beside it, so that a new one can begin; return where it went.

    What was moved aside before stays: the name is ``NAME.damaged-1``, ``NAME.damaged-2`` and so on.

    Raises:
        OSError: the folder cannot be written.
    """
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(aside.with_name(aside.name + suffix))
    return aside
