"""The folder of Unix sockets that the executors of one machine share, containers with the same folder included.

Whoever may write in the folder could put a socket of its own in the place of an executor's. So it must belong to this
user and be writable for no one else.
"""

import contextlib
import hashlib
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# Between `bind` and `listen` a socket refuses connections. A younger one may be in between.
_STALE_AFTER_S: Final = 10.0
# `sun_path` has 108 bytes on Linux and 104 elsewhere, the last one zero.
_LONGEST_PATH_BYTES: Final = 103
_CREDENTIALS: Final = struct.Struct("3i")


def socket_name(device: str, boot_id: str) -> str:
    """Return the file name of the socket of one run of an executor: short, and no path whatever the device's name."""
    return hashlib.sha256(f"{device}\n{boot_id}".encode()).hexdigest()[:32] + ".sock"


def listen_in(folder: Path, name: str) -> socket.socket:
    """Make the folder if it is missing, remove dead sockets in it, and listen on a new one.

    Raises:
        OSError: the folder belongs to another user, others may write in it, or it is full or read-only.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_folder(folder)
    _remove_dead_sockets(folder)
    listener = socket.socket(socket.AF_UNIX)
    try:
        with reachable(folder / name) as address:
            listener.bind(address)
        (folder / name).chmod(0o600)
        listener.listen(16)
    except OSError:
        listener.close()
        raise
    return listener


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[str]:
    """Give a name for a socket that fits a Unix address, for the time of the block.

    Raises:
        OSError: there is no such folder.
    """
    if len(os.fsencode(path)) <= _LONGEST_PATH_BYTES:
        yield str(path)
        return
    # Linux: through an open descriptor of the folder every path is short.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def check_folder(folder: Path) -> None:
    """Check that only this user can put sockets in a folder.

    Raises:
        OSError: it belongs to another user, or others may write in it, or there is none.
    """
    status = folder.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(f"{folder} is no folder")
    if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{folder} belongs to another user or is writable for others")


def peer_is_same_user(sock: socket.socket) -> bool:
    """Return whether the process at the other end of a Unix socket belongs to this process's user."""
    if not hasattr(socket, "SO_PEERCRED"):
        # Elsewhere than on Linux the folder's permissions and the token have to do.
        return True
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user_id, _ = _CREDENTIALS.unpack(data)
    return bool(user_id == os.getuid())


def _remove_dead_sockets(folder: Path) -> None:
    """Remove the sockets of processes that were killed."""
    for path in folder.glob("*.sock"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE_AFTER_S and _is_dead(path):
                path.unlink()


def _is_dead(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe, reachable(path) as address:
        probe.setblocking(False)
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False
