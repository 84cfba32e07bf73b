"""`segue broker` in the foreground."""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from broker.mosquitto import find_mosquitto
from broker.process import free_port
from shared.bus.connection import Connection
from shared.bus.errors import AccessRefused
from shared.bus.settings import BusSettings
from tests.support.fleet_broker import make_fleet, own_settings

WAIT_S = 20.0


async def segue_broker(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.cli.main",
        "broker",
        *arguments,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("secret\n")
    return path


@pytest.mark.parametrize(("host", "told"), [("localhost", "localhost"), ("::1", "[::1]")])
async def test_it_listens_where_it_says(host: str, told: str) -> None:
    port = free_port()
    process = await segue_broker("--host", host, "--port", str(port))
    try:
        assert process.stderr is not None
        async with asyncio.timeout(WAIT_S):
            line = await process.stderr.readline()
        assert line.decode() == f"MQTT 5 broker on mqtt://{told}:{port} (Ctrl-C ends it)\n"
        async with Connection.open(BusSettings.from_address(f"mqtt://{told}:{port}"), connect_timeout_s=WAIT_S):
            pass
    finally:
        process.kill()
        await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_its_account_until_it_is_told_to_stop(number: signal.Signals, secret: Path) -> None:
    port = free_port()
    process = await segue_broker("--port", str(port), "--username", "pi", "--password-file", str(secret))
    settings = BusSettings("127.0.0.1", port, username="pi", password="secret")
    try:
        async with Connection.open(settings, connect_timeout_s=WAIT_S) as connection:
            await connection.publish("events", b"served")
        with pytest.raises(AccessRefused):
            async with Connection.open(replace(settings, password="wrong"), connect_timeout_s=WAIT_S):
                pass
        process.send_signal(number)
        async with asyncio.timeout(WAIT_S):
            _, errors = await process.communicate()
        assert process.returncode == 0
        assert f"mqtt://127.0.0.1:{port}".encode() in errors
        assert b"secret" not in errors
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [(("--username", "pi"), b"user name and a password"), (("--tls-cert", "c.pem"), b"certificate and its key")],
)
async def test_half_of_what_it_needs_is_an_error_of_the_input(arguments: tuple[str, ...], fault: bytes) -> None:
    process = await segue_broker(*arguments)
    async with asyncio.timeout(WAIT_S):
        _, errors = await process.communicate()
    assert process.returncode == 2
    assert fault in errors


@pytest.mark.parametrize(
    ("arguments", "lacking"),
    [
        ((), b"no TLS"),
        (("--username", "pi"), b"no TLS"),
        (("--tls-cert", "c.pem", "--tls-key", "k.pem"), b"no account"),
    ],
)
async def test_others_are_not_served_openly(arguments: tuple[str, ...], lacking: bytes, secret: Path) -> None:
    process = await segue_broker(
        "--host",
        "0.0.0.0",
        "--port",
        str(free_port()),
        *arguments,
        **({"SEGUE_BROKER_PASSWORD_FILE": str(secret)} if "pi" in arguments else {}),
    )
    async with asyncio.timeout(WAIT_S):
        _, errors = await process.communicate()
    assert process.returncode == 2
    assert lacking in errors
    assert b"segue fleet init" in errors
    assert errors.count(b"\n") == 1


async def test_insecure_serves_others_and_says_so() -> None:
    port = free_port()
    process = await segue_broker("--host", "0.0.0.0", "--port", str(port), "--insecure")
    try:
        assert process.stderr is not None
        async with asyncio.timeout(WAIT_S):
            lines = [(await process.stderr.readline()).decode() for _ in range(3)]
        assert lines[0].startswith(f"insecure: mqtt://0.0.0.0:{port}: no TLS")
        assert "no access rules" in lines[1]
        assert lines[2].startswith("MQTT 5 broker on")
    finally:
        process.kill()
        await process.communicate()


@pytest.mark.mosquitto
@pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is missing: apt-get install mosquitto")
async def test_it_becomes_the_mosquitto_of_a_fleet(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path / "fleet")
    process = await segue_broker("--fleet", str(fleet.path))
    try:
        async with Connection.open(own_settings(fleet, "operator"), connect_timeout_s=WAIT_S):
            second = await segue_broker("--fleet", str(fleet.path))
            async with asyncio.timeout(WAIT_S):
                _, errors = await second.communicate()
            assert (second.returncode, b"runs already" in errors) == (2, True)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(WAIT_S):
            await process.communicate()
        assert process.returncode == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_a_fleet_that_is_not_there_is_an_error_of_the_input(tmp_path: Path) -> None:
    process = await segue_broker("--fleet", str(tmp_path / "none"))
    async with asyncio.timeout(WAIT_S):
        _, errors = await process.communicate()
    assert process.returncode == 2
    assert b"segue fleet init" in errors
    assert b"Traceback" not in errors
