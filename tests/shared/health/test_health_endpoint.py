"""A service's socket and its notices, in real sockets."""

import asyncio
import logging
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.health.health_endpoint import answer_health
from shared.health.health_query import ask
from shared.health.service_health import ServiceHealth


@dataclass
class State:
    offline_s: float = 0.0
    silent_s: float = 0.0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    return tmp_path


async def test_the_answer_follows_the_service_and_ends_with_it(folder: Path) -> None:
    health, state = ServiceHealth("monitor", "cam"), State()
    async with answer_health(health):
        [starting] = await asyncio.to_thread(ask, "monitor", [folder])
        health.serving({"control": state})
        [ready] = await asyncio.to_thread(ask, None, [folder])
        state.offline_s = 60.0
        [cut] = await asyncio.to_thread(ask, "monitor", [folder])
        assert await asyncio.to_thread(ask, "executor", [folder]) == []
    assert (starting.is_ready, ready.is_ready, cut.is_ready) == (False, True, False)
    assert (ready.role, ready.name) == ("monitor", "cam")
    assert not await asyncio.to_thread(lambda: list(folder.iterdir()))


async def test_a_service_without_a_folder_works_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("shared.health.health_endpoint.make_runtime_folder", lambda: folder / "absent")
    with caplog.at_level(logging.WARNING):
        async with answer_health(ServiceHealth("monitor", "cam")):
            pass
    assert "`segue health` cannot ask this process" in caplog.text


async def test_a_supervisor_hears_of_the_start_of_life_and_of_trouble(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(folder / "notify"))
        supervisor.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "20000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        health, state = ServiceHealth("monitor", "cam"), State()

        async def until(line: str) -> list[str]:
            while line not in (lines := (await loop.sock_recv(supervisor, 1000)).decode().split("\n")):
                assert "READY=1" not in lines
            return lines

        async with asyncio.timeout(20), answer_health(health):
            first = await until("WATCHDOG=1")
            assert first[0].startswith("STATUS=it is starting")
            health.serving({"control": state})
            assert await until("READY=1") == ["STATUS=ready", "READY=1", "WATCHDOG=1"]
            state.offline_s = 60.0
            await until("STATUS=no connection to the broker for 60 s (control)")
            # It runs, although it cannot work.
            await until("WATCHDOG=1")
        async with asyncio.timeout(20):
            await until("STOPPING=1")
