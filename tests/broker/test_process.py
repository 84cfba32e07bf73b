"""Starting, stopping, killing and restarting a broker's process."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from broker.process import BrokerFailed, BrokerProcess, free_port
from shared.bus.connection import Connection
from shared.bus.settings import BusSettings

WAIT_S = 20.0


class Failing(BrokerProcess):
    """A program that says something and ends, or listens to nobody."""

    def __init__(self, program: str, start_timeout_s: float = WAIT_S) -> None:
        super().__init__(BusSettings("127.0.0.1", free_port()), start_timeout_s)
        self.program = program

    def prepare(self, directory: Path) -> Sequence[str]:
        return (sys.executable, "-c", self.program)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_broker_lives_as_long_as_its_block() -> None:
    async with EmbeddedBroker() as broker:
        pid = broker.pid
        assert pid is not None
        assert is_running(pid)
    assert broker.pid is None
    assert not is_running(pid)


async def test_it_comes_back_on_the_same_port() -> None:
    async with EmbeddedBroker() as broker:
        first = broker.pid
        await broker.kill()
        assert broker.pid is None
        await broker.kill()
        await broker.start()
        assert broker.pid not in (None, first)
        async with Connection.open(broker.settings) as connection:
            assert connection.is_connected


async def test_a_program_that_ends_is_reported_with_its_last_words() -> None:
    with pytest.raises(BrokerFailed, match=r"ended with status 7\nno such luck"):
        async with Failing("import sys; sys.exit(print('no such luck') or 7)"):
            pass


async def test_a_program_that_does_not_listen_is_given_up() -> None:
    failing = Failing("import threading; threading.Event().wait()", start_timeout_s=0.3)
    with pytest.raises(BrokerFailed, match=r"nobody listens after 0\.3 s"):
        async with failing:
            pass
    assert failing.pid is None


async def test_it_cannot_be_started_outside_its_block() -> None:
    with pytest.raises(BrokerFailed, match="async with"):
        await EmbeddedBroker().start()


async def test_the_embedded_broker_ends_with_its_parent() -> None:
    program = (
        "import asyncio\n"
        "from broker.embedded import EmbeddedBroker\n"
        "async def main():\n"
        "    async with EmbeddedBroker() as broker:\n"
        "        print(broker.settings.port, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    async with asyncio.timeout(WAIT_S):
        port = int(await parent.stdout.readline())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        parent.send_signal(signal.SIGKILL)
        await parent.wait()
        assert await reader.read() == b""
        writer.close()


def test_a_free_port_is_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
