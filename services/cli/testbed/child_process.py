"""A service as the child of a fleet: runs one `segue` command and never outlives the process that started it."""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.5


def tie_to_parent(parent_pid: int) -> None:
    """Arrange that this process is killed when the process `parent_pid` dies, whatever it dies of.

    On Linux the kernel does it; elsewhere a thread looks whether the parent has changed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent_pid,), name="watch the parent", daemon=True).start()
    if os.getppid() != parent_pid:
        os._exit(1)


def _watch(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(_POLL_S)
    os._exit(1)


def main(arguments: Sequence[str]) -> None:
    """Run `PARENT_PID COMMAND [ARGUMENTS...]`."""
    tie_to_parent(int(arguments[0]))
    from services.cli.main import main as segue

    segue(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
