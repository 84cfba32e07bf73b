"""Child processes of a fleet on this machine, which never outlive the process that started them.

Run as a program, this module is the child: `PARENT_PID COMMAND [ARGUMENTS...]` runs one `segue` command.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

_LOGGER = logging.getLogger(__name__)

_STOP_S: Final = 8.0
_KILL_S: Final = 5.0
_TAIL_BYTES: Final = 2000
_PARENT_POLL_S: Final = 0.5

# Option of Linux's prctl(2): the signal that the kernel sends to this process when its parent dies.
_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True)
class Died:
    """A process that ended without being killed or stopped.

    Attributes:
        name: of the process.
        status: its exit status; negative for a signal.
        tail: the end of its log.
    """

    name: str
    status: int
    tail: str

    def __str__(self) -> str:
        """Return one line with the last line of its log."""
        last = self.tail.splitlines()[-1] if self.tail else "it wrote nothing"
        return f"process {self.name} ended with status {self.status}: {last}"


class Processes:
    """`segue` commands as child processes, each with its own process group and log file.

    Only the methods change which processes run. A process that was killed or stopped is not watched.

    Example:
        >>> async with Processes(Path("run")) as processes:
        ...     await processes.start("planner", ("planner", "--broker", address))
    """

    def __init__(self, run_dir: Path, environment: Mapping[str, str] | None = None) -> None:
        """Start nothing yet.

        Args:
            run_dir: logs are `run_dir/logs/NAME.log`.
            environment: variables on top of this process's.
        """
        self.log_dir = run_dir / "logs"
        self._environment = {**os.environ, **(environment or {})}
        self._commands: dict[str, tuple[tuple[str, ...], Mapping[str, str]]] = {}
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def __aenter__(self) -> Self:
        """Make the folder of the logs."""
        await asyncio.to_thread(self.log_dir.mkdir, parents=True, exist_ok=True)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop every process."""
        # A second Ctrl-C cancels this task, but must not leave processes behind.
        await asyncio.shield(self.stop_all())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the processes that were started and not killed or stopped."""
        return tuple(self._running)

    def pid(self, name: str) -> int:
        """Return the process id of a running process."""
        return self._running[name].pid

    def log(self, name: str) -> Path:
        """Return the log file of a process."""
        return self.log_dir / f"{name}.log"

    async def start(self, name: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start `segue ARGUMENTS` under a name that no running process has, with variables of its own."""
        if name in self._running:
            raise ValueError(f"{name} is running already")
        self._commands[name] = tuple(arguments), environment or {}
        with self.log(name).open("ab") as log:
            self._running[name] = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "services.cli.testbed.processes",
                str(os.getpid()),
                *arguments,
                # A group of its own: Ctrl-C in the terminal reaches the parent only, which stops children in order.
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self._environment, **self._commands[name][1]},
                start_new_session=True,
            )

    def suspend(self, name: str) -> None:
        """Suspend a process and its children with SIGSTOP, as the sleep of a machine does."""
        _signal_group(self._running[name], signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a suspended process go on."""
        _signal_group(self._running[name], signal.SIGCONT)

    async def stop(self, name: str) -> None:
        """End a process with SIGTERM, and with SIGKILL if it does not follow in time."""
        await _stop([self._running.pop(name)])

    async def kill(self, name: str) -> None:
        """Send SIGKILL to a process and all of its children, and wait until it is gone."""
        # Removed first, so that `death` does not report the process.
        process = self._running.pop(name)
        _signal_group(process, signal.SIGKILL)
        async with asyncio.timeout(_KILL_S):
            await process.wait()

    async def restart(self, name: str) -> None:
        """Start a killed or stopped process again with the same arguments."""
        await self.start(name, *self._commands[name])

    def died(self) -> Died | None:
        """Return a process that ended by itself; None if there is none. Each is returned once."""
        for name, process in tuple(self._running.items()):
            if process.returncode is not None:
                del self._running[name]
                return Died(name, process.returncode, self._tail(name))
        return None

    async def death(self) -> Died:
        """Wait until a process ends by itself. Processes that start during the wait are not watched."""
        while True:
            waiting = [asyncio.ensure_future(process.wait()) for process in self._running.values()]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waiting:
                    task.cancel()
            died = self.died()
            if died is not None:
                return died

    async def stop_all(self) -> None:
        """Stop every process, the one that was started first after all others."""
        # The first one is the broker: the others publish that they are offline while they stop.
        first, *others = tuple(self._running.values()) or (None,)
        self._running.clear()
        await _stop(others)
        if first is not None:
            await _stop([first])

    def _tail(self, name: str) -> str:
        with self.log(name).open("rb") as log:
            log.seek(max(0, self.log(name).stat().st_size - _TAIL_BYTES))
            return log.read().decode(errors="replace").strip()


async def cancel_all(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended, whatever their results."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def _stop(processes: Sequence[asyncio.subprocess.Process]) -> None:
    """Stop processes together: SIGTERM first, then SIGKILL for their whole groups."""
    if not processes:
        return
    for process in processes:
        _signal_group(process, signal.SIGTERM)
    waiting = [asyncio.ensure_future(process.wait()) for process in processes]
    _, late = await asyncio.wait(waiting, timeout=_STOP_S)
    if late:
        _LOGGER.warning("%d processes did not stop within %g s; killing them", len(late), _STOP_S)
    # Also for processes that ended: their children may still run in the group.
    for process in processes:
        _signal_group(process, signal.SIGKILL)
    await asyncio.wait(waiting, timeout=_KILL_S)


def _signal_group(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Signal a process's group, if any process of it still runs."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def tie_to_parent(parent_pid: int) -> None:
    """Arrange that this process is killed when its parent dies, even by SIGKILL.

    On Linux the kernel does it. Elsewhere a thread polls the parent's id.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch_parent, args=(parent_pid,), name="watch the parent", daemon=True).start()
    # The parent may have died before the call above, which then has no effect.
    if os.getppid() != parent_pid:
        os._exit(1)


def _watch_parent(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(_PARENT_POLL_S)
    os._exit(1)


def run_child(arguments: Sequence[str]) -> None:
    """Run `PARENT_PID COMMAND [ARGUMENTS...]` as a child of a fleet."""
    tie_to_parent(int(arguments[0]))
    from services.cli.main import main

    main(arguments[1:])


if __name__ == "__main__":
    run_child(sys.argv[1:])
