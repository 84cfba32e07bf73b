"""A service's answer to those who ask for its health: a Unix socket, and notices to systemd."""

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from shared.health.runtime_folder import make_runtime_folder
from shared.health.service_health import HealthReport, ServiceHealth
from shared.health.supervisor_notices import Supervisor

_LOGGER = logging.getLogger(__name__)

# Between two looks at the state for a supervisor; one that watches more closely is told more often.
_LOOK_S: Final = 2.0


@contextlib.asynccontextmanager
async def answer_health(health: ServiceHealth) -> AsyncIterator[None]:
    """Answer for a service's health for the time of the block.

    The event loop of the service answers, so that a service that hangs does not answer. A folder that cannot be written
    is logged and does not end the service: it then works, and is not seen to.

    Args:
        health: what the service states.
    """
    async with contextlib.AsyncExitStack() as stack:
        try:
            folder = await asyncio.to_thread(make_runtime_folder)
            await stack.enter_async_context(_socket(health, folder / f"{health.role}-{os.getpid()}.sock"))
        except OSError as error:
            _LOGGER.warning("`segue health` cannot ask this process: %s", error)
        supervisor = Supervisor.of_environment()
        if supervisor is not None:
            notices = asyncio.create_task(_notify(health, supervisor), name="notices to the supervisor")
            stack.push_async_callback(_end, notices)
            stack.callback(supervisor.send, "STOPPING=1")
        yield


@contextlib.asynccontextmanager
async def _socket(health: ServiceHealth, path: Path) -> AsyncIterator[None]:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(json.dumps(health.report().to_fields()).encode() + b"\n")
            await writer.drain()
        writer.close()

    # A process of the same number may have been killed before.
    await asyncio.to_thread(path.unlink, missing_ok=True)
    server = await asyncio.start_unix_server(answer, path)
    try:
        yield
    finally:
        server.close()
        # At once, in a process that ends: its loop may be cancelled.
        os.unlink(path)


async def _notify(health: ServiceHealth, supervisor: Supervisor) -> None:
    """Tell the supervisor that the service is ready, that its event loop runs, and what troubles it."""
    told: HealthReport | None = None
    is_ready = False
    interval_s = min(_LOOK_S, supervisor.watchdog_s / 2)
    while True:
        report = health.report()
        lines = []
        if report != told:
            lines.append(f"STATUS={report.reason or 'ready'}")
        if report.is_ready and not is_ready:
            lines.append("READY=1")
            is_ready = True
        # Not withheld without a connection: a restart does not bring a broker back.
        if supervisor.is_watching:
            lines.append("WATCHDOG=1")
        if lines:
            supervisor.send("\n".join(lines))
        told = report
        await asyncio.sleep(interval_s)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
