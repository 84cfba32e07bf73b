"""TCP_NODELAY for the listening sockets of a library that does not set it."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")


def set_tcp_nodelay_on_listeners() -> int:
    """Set TCP_NODELAY on every listening TCP socket of this process. Accepted connections inherit it.

    Without it Nagle's algorithm holds small messages back until the peer's delayed acknowledgement, for up to 40 ms.
    Linux only: elsewhere nothing is done.

    Returns:
        Number of listening sockets found.
    """
    count = 0
    for listener in _listening_sockets():
        with listener:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            count += 1
    return count


def _listening_sockets() -> Iterator[socket.socket]:
    """Yield a duplicate of every listening TCP socket. Options are of the socket, so the original has them as well."""
    if not _DESCRIPTORS.is_dir():
        return
    for name in os.listdir(_DESCRIPTORS):
        # Descriptors may be closed by other threads while they are looked at.
        with contextlib.suppress(OSError):
            if not os.readlink(_DESCRIPTORS / name).startswith("socket:"):
                continue
            candidate = socket.socket(fileno=os.dup(int(name)))
            is_tcp = candidate.family in (socket.AF_INET, socket.AF_INET6) and candidate.type == socket.SOCK_STREAM
            if is_tcp and candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                yield candidate
            else:
                candidate.close()
