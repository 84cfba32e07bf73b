"""The processes of a fleet on this machine: started, killed, started again, stopped; none is left behind."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

LOGGER = logging.getLogger(__name__)

_STOP_S = 8.0
_KILL_S = 5.0
_TAIL_BYTES = 2000


@dataclass(frozen=True, slots=True)
class Died:
    """A process that has ended although nobody asked it to.

    Attributes:
        name: of the process.
        status: its exit status; negative for a signal.
        tail: the end of its log.
    """

    name: str
    status: int
    tail: str


class Processes:
    """`segue` commands as child processes, each in a process group of its own, with a log file each.

    Example:
        >>> async with Processes(Path("run")) as processes:
        ...     await processes.start("planner", ("planner", "--broker", address))
    """

    def __init__(self, run_dir: Path, environment: Mapping[str, str] | None = None) -> None:
        """Describe where logs go.

        Args:
            run_dir: logs are `run_dir/logs/NAME.log`.
            environment: variables on top of this process's.
        """
        self.log_dir = run_dir / "logs"
        self._environment = {**os.environ, **(environment or {})}
        self._commands: dict[str, tuple[str, ...]] = {}
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def __aenter__(self) -> Self:
        """Make the folder of the logs."""
        await asyncio.to_thread(self.log_dir.mkdir, parents=True, exist_ok=True)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop every process."""
        await asyncio.shield(self.stop_all())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the processes that should be running."""
        return tuple(self._running)

    def pid(self, name: str) -> int:
        """Return the process id of a running process."""
        return self._running[name].pid

    def log(self, name: str) -> Path:
        """Return the log file of a process."""
        return self.log_dir / f"{name}.log"

    async def start(self, name: str, arguments: Sequence[str]) -> None:
        """Start `segue ARGUMENTS` under a name that no running process has."""
        if name in self._running:
            raise ValueError(f"{name} is running already")
        self._commands[name] = tuple(arguments)
        with self.log(name).open("ab") as log:
            self._running[name] = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "services.cli.testbed.child_process",
                str(os.getpid()),
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )

    async def kill(self, name: str) -> None:
        """Send SIGKILL to a process and all of its children, and wait until it is gone."""
        process = self._running.pop(name)
        _signal_group(process, signal.SIGKILL)
        async with asyncio.timeout(_KILL_S):
            await process.wait()

    async def restart(self, name: str) -> None:
        """Start a process again with the arguments that it had."""
        await self.start(name, self._commands[name])

    def died(self) -> Died | None:
        """Return a process that has ended although nobody killed or stopped it, once; None if there is none."""
        for name, process in tuple(self._running.items()):
            if process.returncode is not None:
                del self._running[name]
                return Died(name, process.returncode, self._tail(name))
        return None

    async def death(self) -> Died:
        """Wait until a process ends that nobody kills or stops; processes that start meanwhile are not waited for."""
        while True:
            waiting = [asyncio.ensure_future(process.wait()) for process in self._running.values()]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in waiting:
                    each.cancel()
            died = self.died()
            if died is not None:
                return died

    async def stop_all(self) -> None:
        """Stop every process; the one that was started first, the broker, when the others have said goodbye."""
        first, *others = tuple(self._running.values()) or (None,)
        self._running.clear()
        await _stop(others)
        if first is not None:
            await _stop([first])

    def _tail(self, name: str) -> str:
        with self.log(name).open("rb") as log:
            log.seek(max(0, self.log(name).stat().st_size - _TAIL_BYTES))
            return log.read().decode(errors="replace").strip()


async def _stop(processes: Sequence[asyncio.subprocess.Process]) -> None:
    """Stop processes together: SIGTERM, and SIGKILL for those that do not end in time, and for their children."""
    if not processes:
        return
    for process in processes:
        _signal_group(process, signal.SIGTERM)
    waiting = [asyncio.ensure_future(process.wait()) for process in processes]
    _, late = await asyncio.wait(waiting, timeout=_STOP_S)
    if late:
        LOGGER.warning("%d processes did not stop within %g s and are killed", len(late), _STOP_S)
    for process in processes:
        _signal_group(process, signal.SIGKILL)
    await asyncio.wait(waiting, timeout=_KILL_S)


def _signal_group(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Signal a process's group; it may have ended, and its children with it or not."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
