"""Child processes: started, killed, watched, and tied to their parent."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from services.cli.testbed.processes import Processes
from shared.bus.connection import Connection
from shared.bus.errors import BusError
from shared.bus.settings import BusSettings

WAIT_S = 20.0

PARENT = """
import asyncio, sys
from pathlib import Path
from services.cli.testbed.processes import Processes

async def main():
    async with Processes(Path(sys.argv[1])) as processes:
        await processes.start("broker", ("broker", "--port", sys.argv[2]))
        print(processes.pid("broker"), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_process_that_ends_by_itself_is_reported_once_with_its_last_words(tmp_path: Path) -> None:
    async with Processes(tmp_path) as processes:
        await processes.start("version", ("no-such-command",))
        async with asyncio.timeout(WAIT_S):
            died = await processes.death()
        assert processes.died() is None
    assert (died.name, died.status) == ("version", 2)
    assert "no-such-command" in died.tail


async def test_a_killed_process_is_gone_is_no_surprise_and_can_be_started_again(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    async with Processes(tmp_path) as processes:
        await processes.start("broker", ("broker", "--port", str(unused_tcp_port)))
        first = processes.pid("broker")
        await processes.kill("broker")
        assert not psutil.pid_exists(first)
        assert processes.died() is None
        await processes.restart("broker")
        second = processes.pid("broker")
        with pytest.raises(ValueError, match="running already"):
            await processes.restart("broker")
    assert not psutil.pid_exists(second)
    assert processes.names == ()


async def test_a_process_can_be_suspended_resumed_and_stopped(tmp_path: Path, unused_tcp_port: int) -> None:
    async with Processes(tmp_path) as processes:
        await processes.start("broker", ("broker", "--port", str(unused_tcp_port)), {"OWN_VARIABLE": "here"})
        async with Connection.open(BusSettings(port=unused_tcp_port), connect_timeout_s=WAIT_S) as connection:
            process = psutil.Process(processes.pid("broker"))
            processes.suspend("broker")
            with pytest.raises(BusError):
                await connection.publish("events", b"", timeout_s=0.2)
            processes.resume("broker")
            await connection.publish("events", b"", timeout_s=WAIT_S)
            assert process.environ()["OWN_VARIABLE"] == "here"
        await processes.stop("broker")
        assert not process.is_running()
        assert processes.died() is None


async def test_each_process_has_a_group_of_its_own_and_the_environment(tmp_path: Path, unused_tcp_port: int) -> None:
    async with Processes(tmp_path, {"SEGUE_BROKER": "mqtt://somewhere"}) as processes:
        await processes.start("broker", ("broker", "--port", str(unused_tcp_port)))
        pid = processes.pid("broker")
        assert os.getpgid(pid) == pid != os.getpgrp()
        async with Connection.open(BusSettings(port=unused_tcp_port), connect_timeout_s=WAIT_S):
            pass  # Until its exec is through, Linux shows nothing of a process's environment.
        environment = psutil.Process(pid).environ()
        assert environment["SEGUE_BROKER"] == "mqtt://somewhere"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_no_process_outlives_its_parent(tmp_path: Path, unused_tcp_port: int, number: signal.Signals) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(tmp_path), str(unused_tcp_port)), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    async with asyncio.timeout(WAIT_S):
        child = int(await parent.stdout.readline())
        parent.send_signal(number)
        await parent.wait()
    if psutil.pid_exists(child):
        await asyncio.to_thread(psutil.Process(child).wait, WAIT_S)
    assert not psutil.pid_exists(child)
