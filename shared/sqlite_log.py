"""Write-ahead logs of SQLite databases on disks with little room.

A checkpoint copies the log into the database, and the next transaction begins the log again. Without one, a log that
has taken the rest of the disk would keep every later transaction from being written.
"""

import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import Final

# A checkpoint may lengthen the database by as much as the log has. So the log takes at most a third of the room.
_ROOM_PER_LOG: Final = 2


def checkpoint_after_bytes(folder: Path, usual_bytes: int) -> int:
    """Return the size of a log at which a checkpoint is due: the usual one, or a smaller one on a disk that fills up.

    Args:
        folder: of the database.
        usual_bytes: on a disk with room.
    """
    try:
        return min(usual_bytes, shutil.disk_usage(folder).free // _ROOM_PER_LOG)
    except OSError:
        return usual_bytes


def bound_log(database: sqlite3.Connection, folder: Path, usual_bytes: int) -> None:
    """Let the transactions of a connection do a checkpoint when the log has this size, or earlier on a small disk."""
    (page_bytes,) = database.execute("PRAGMA page_size").fetchone()
    pages = checkpoint_after_bytes(folder, usual_bytes) // page_bytes
    database.execute(f"PRAGMA wal_autocheckpoint = {max(1, pages)}")


def begin_log_again(database: sqlite3.Connection) -> None:
    """Make room after a transaction that the disk has refused, if a checkpoint can make any."""
    with contextlib.suppress(sqlite3.Error):
        database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
