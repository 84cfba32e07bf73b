"""A broker as a child process that can be started, stopped, killed and started again."""

import asyncio
import contextlib
import os
import signal
import socket
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from shared.bus.connection import Connection
from shared.bus.errors import BusError
from shared.bus.settings import BusSettings

_STOP_TIMEOUT_S: Final = 5.0
# Bytes of the broker's own output in an error message.
_LOG_TAIL_BYTES: Final = 2000
_POLL_INTERVAL_S: Final = 0.02


class BrokerFailed(RuntimeError):
    """The broker's process did not start, or does not serve."""


def free_port() -> int:
    """Return a TCP port of this machine on which nothing listens at the moment."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class BrokerProcess(ABC):
    """A broker in a child process, as an async context manager. Subclasses state configuration and command.

    Invariant: `_directory` exists exactly within the block, so that a restart finds the files of the run before.

    Attributes:
        settings: the clients' settings. They stay the same after a restart.
    """

    def __init__(self, settings: BusSettings, start_timeout_s: float = 15.0) -> None:
        self.settings = settings
        self._start_timeout_s = start_timeout_s
        self._process: asyncio.subprocess.Process | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    @abstractmethod
    def prepare(self, directory: Path) -> Sequence[str]:
        """Write the configuration into a private directory, and return the command that runs the broker."""

    @property
    def pid(self) -> int | None:
        """Process id; None while it does not run."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process is not None else None

    async def __aenter__(self) -> Self:
        """Start it."""
        self._directory = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="segue-broker-")
        try:
            await self.start()
        except BaseException:
            await self._clean_up()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it and remove its files."""
        await self._clean_up()

    async def start(self) -> None:
        """Start the process and wait until it serves MQTT 5.

        Raises:
            BrokerFailed: it ended or did not answer in time. The text contains the end of its output.
        """
        if self._directory is None:
            raise BrokerFailed("a broker is started by entering it: async with ...")
        directory = Path(self._directory.name)
        command = await asyncio.to_thread(self.prepare, directory)
        log = await asyncio.to_thread((directory / "broker.log").open, "ab")
        with log:
            # The pipe closes when this process ends, however it ends. A child that reads it ends as well.
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log, env=self.environment()
            )
        await self._wait_until_serving(directory)

    async def stop(self) -> None:
        """End the process with SIGTERM, and with SIGKILL if it does not follow in time."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            await self.kill()
        self._forget()

    async def kill(self) -> None:
        """End the process with SIGKILL, like a power cut."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            await process.wait()
        self._forget()

    def suspend(self) -> None:
        """Suspend the process with SIGSTOP: connections stay open, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a suspended process go on."""
        self._signal(signal.SIGCONT)

    def environment(self) -> dict[str, str]:
        """Return the environment of the child process."""
        return dict(os.environ)

    async def _wait_until_serving(self, directory: Path) -> None:
        process = self._process
        if process is None:
            raise BrokerFailed("not started")
        # A broker that ends during the start is reported immediately with its output, not after the timeout.
        connecting = asyncio.ensure_future(self._connect_once())
        ending = asyncio.ensure_future(process.wait())
        try:
            await asyncio.wait({connecting, ending}, return_when=asyncio.FIRST_COMPLETED)
            if connecting.done() and connecting.exception() is None:
                return
            reason = str(connecting.exception()) if connecting.done() else f"it ended with status {process.returncode}"
            tail = await asyncio.to_thread(_tail, directory / "broker.log")
            raise BrokerFailed(f"the broker at {self.settings.address} does not serve: {reason}\n{tail}".rstrip())
        finally:
            for waiting in (connecting, ending):
                waiting.cancel()
            await asyncio.gather(connecting, ending, return_exceptions=True)

    async def _connect_once(self) -> None:
        try:
            # Polled without TLS and MQTT first: a client that meets a closed port would back off for longer.
            async with asyncio.timeout(self._start_timeout_s):
                await _wait_for_listener(self.settings.host, self.settings.port)
            async with Connection.open(self.settings, connect_timeout_s=self._start_timeout_s):
                return
        except TimeoutError:
            raise BrokerFailed(f"nobody listens after {self._start_timeout_s:g} s") from None
        except BusError as exc:
            raise BrokerFailed(str(exc)) from exc

    async def _clean_up(self) -> None:
        try:
            # A cancelled block must not leave a broker behind.
            await asyncio.shield(self.stop())
        finally:
            if self._directory is not None:
                directory, self._directory = self._directory, None
                await asyncio.to_thread(directory.cleanup)

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None:
            os.kill(self.pid, number)

    def _forget(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None


async def _wait_for_listener(host: str, port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(_POLL_INTERVAL_S)
            continue
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return


def _tail(path: Path) -> str:
    try:
        return path.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
    except OSError:
        return ""
