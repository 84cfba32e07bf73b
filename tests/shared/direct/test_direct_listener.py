"""The accepting side against strangers, and a process that has run out of files."""

import asyncio
import os
import resource
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.bus.settings import BusSettings
from shared.direct.direct_messages import MessageKind, message
from shared.direct.direct_settings import Endpoint
from shared.direct.direct_tls import BootCertificate
from shared.direct.direct_transport import DirectTransport
from shared.direct.greetings import Hello, encode_greeting
from shared.direct.socket_folder import reachable
from shared.messages.devices import DirectAccess
from tests.shared.direct.conftest import Machine, next_of, presence_of, until

TLS_BUS = replace(BusSettings(host="127.0.0.1"), tls=True)


def hello(transport: DirectTransport, **changes: Any) -> bytes:
    """The greeting of a device that knows the transport's token."""
    greeting = Hello(device="pi", boot_id="b", receiver=transport.device, token=transport.access.token)
    return message(MessageKind.HELLO, encode_greeting(greeting.model_copy(update=changes)))


async def answer(transport: DirectTransport, data: bytes) -> bytes:
    """What a stranger receives who sends this over TCP, until the connection ends or something comes."""
    reader, writer = await asyncio.open_connection(*address_of(transport.access))
    try:
        writer.write(data)
        async with asyncio.timeout(30):
            return await reader.read(1000)
    finally:
        writer.close()


def address_of(access: DirectAccess) -> tuple[str, int]:
    endpoint = Endpoint.parse(access.addresses[0])
    return endpoint.host, endpoint.port


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"token": "guessed"}, b"another token"),
        ({"token": ""}, b"another token"),
        ({"token": "\u00e9"}, b"another token"),
        ({"receiver": "other"}, b"it means other"),
        ({"version": 2}, b"version 2"),
    ],
)
async def test_a_greeting_that_does_not_fit_is_refused_with_its_reason(
    machine: Machine, changes: dict[str, Any], reason: bytes
) -> None:
    server = await machine.open("server")
    assert reason in await answer(server, hello(server, **changes))


@pytest.mark.parametrize("data", [b"\x16\x03\x01" + bytes(30), b"SGD1" + bytes(12), b"GET / HTTP/1.0\r\n\r\n"])
async def test_strangers_are_left_and_others_still_served(machine: Machine, data: bytes) -> None:
    server = await machine.open("server")
    assert await answer(server, data) == b""
    assert (await answer(server, hello(server)))[4] == MessageKind.WELCOME


async def test_the_number_of_strangers_is_bounded(machine: Machine) -> None:
    server = await machine.open("server")
    strangers = [socket.create_connection(address_of(server.access)) for _ in range(100)]
    await until(lambda: len(server._listener.channels) == 32)
    async with asyncio.timeout(30):
        # The rest is turned away at once.
        strangers[-1].setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(strangers[-1], 1) == b""
    assert len(server._listener.channels) == 32
    for stranger in strangers:
        stranger.close()
    await until(lambda: not server._listener.channels)


async def test_all_addresses_are_listened_on_and_a_usable_one_is_announced(machine: Machine) -> None:
    server, pi = await machine.open("server", host="0.0.0.0"), await machine.open("pi")
    assert server.access.addresses[0].startswith("127.0.0.1:")
    assert server.access.encrypted
    server.learn(presence_of(pi))
    pi.learn(presence_of(server, socket_name=""))
    assert await pi.connected("server")


async def test_descriptors_of_a_stranger_are_not_kept(machine: Machine, open_files: Callable[[], int]) -> None:
    server = await machine.open("server")
    with socket.socket(socket.AF_UNIX) as stranger:
        with reachable(machine.folder / server.access.socket_name) as address:
            stranger.connect(address)
        before = open_files()
        for byte in hello(server)[:20]:
            socket.send_fds(stranger, [bytes([byte])], [0])
            await until(lambda: server._listener.channels)
            await asyncio.sleep(0)
        assert open_files() <= before + 2


async def test_refusals_are_logged_once(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    server = await machine.open("server")
    for _ in range(3):
        assert b"another token" in await answer(server, hello(server, token="guessed"))
    assert caplog.text.count("refused a direct connection") == 1


async def test_a_second_connection_of_a_device_replaces_the_first(machine: Machine) -> None:
    server = await machine.open("server")
    first_reader, first = await asyncio.open_connection(*address_of(server.access))
    first.write(hello(server))
    async with asyncio.timeout(30):
        assert (await first_reader.read(1000))[4] == MessageKind.WELCOME
        assert (await answer(server, hello(server)))[4] == MessageKind.WELCOME
        assert await first_reader.read(1000) == b""
    first.close()


async def test_a_certificate_of_another_device_is_refused(machine: Machine) -> None:
    machine.settings["broker"] = TLS_BUS
    server, pi, jetson = await machine.open("server"), await machine.open("pi"), await machine.open("jetson")
    for other in (pi, jetson):
        server.learn(presence_of(other))
    certificate = jetson._certificate
    assert certificate is not None
    context = certificate.connecting_context(server.access.certificate)
    with await asyncio.to_thread(_connect_tls, address_of(server.access), context) as sock:
        # With its own certificate and the right token it calls itself pi.
        await asyncio.to_thread(sock.sendall, hello(server))
        assert b"not that of pi" in await asyncio.to_thread(sock.recv, 1000)


async def test_one_that_the_bus_does_not_know_gets_no_encrypted_connection(machine: Machine) -> None:
    server = await machine.open("server", broker=TLS_BUS)
    stranger = BootCertificate.make()
    assert stranger is not None
    context = stranger.connecting_context(server.access.certificate)
    with socket.create_connection(address_of(server.access), timeout=20) as sock:
        assert await asyncio.to_thread(_refusal, context, sock)


def _refusal(context: ssl.SSLContext, sock: socket.socket) -> str:
    """How a connection ends. With TLS 1.3 a client learns of the refusal when it reads."""
    try:
        with context.wrap_socket(sock) as wrapped:
            return "closed" if not wrapped.recv(1) else ""
    except OSError as error:
        return str(error)


def _connect_tls(address: tuple[str, int], context: ssl.SSLContext) -> ssl.SSLSocket:
    return context.wrap_socket(socket.create_connection(address, timeout=20))


async def test_without_the_library_nothing_listens_where_encryption_is_needed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(BootCertificate, "make", lambda: None)
    server = await machine.open("server", broker=TLS_BUS)
    assert server.access.addresses == ()
    assert "cryptography is missing" in caplog.text
    # The Unix socket does not leave the machine.
    pi = await machine.open("pi", broker=TLS_BUS)
    pi.learn(presence_of(server))
    assert await pi.connected("server")


async def test_a_peer_off_this_machine_without_encryption_is_not_dialled(machine: Machine) -> None:
    pi = await machine.open("pi")
    server = await machine.open("server")
    for changes in ({"addresses": ("192.0.2.9:4000",)}, {"machine": "another"}):
        pi.learn(presence_of(server, boot_id=str(changes), socket_name="", **changes))
        assert not await pi.connected("server")


@pytest.fixture
def few_files() -> Iterator[None]:
    """Leaves this process hardly any descriptor for the time of the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_process_without_descriptors_accepts_again_later(machine: Machine, few_files: None) -> None:
    server = await machine.open("server")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    client = socket.socket()
    used = max(map(int, os.listdir("/proc/self/fd")))
    fillers = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 2, hard))
    while True:
        try:
            fillers.append(os.dup(0))
        except OSError:
            break
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, address_of(server.access))
    await loop.sock_sendall(client, hello(server))
    waiting = asyncio.ensure_future(loop.sock_recv(client, 100))
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert not done
    for filler in fillers:
        os.close(filler)
    async with asyncio.timeout(30):
        assert (await waiting)[4] == MessageKind.WELCOME
    client.close()


@pytest.mark.parametrize("fault", ["no folder", "others may write", "a file"])
async def test_an_unusable_socket_folder_leaves_tcp(
    machine: Machine, tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "folder"
    if fault == "a file":
        folder.write_text("")
    elif fault == "others may write":
        folder.mkdir()
        folder.chmod(0o777)
    else:
        folder = Path("/proc/no/folder")
    server, pi = await machine.open("server", socket_folder=folder), await machine.open("pi")
    assert "over a Unix socket" in caplog.text
    assert server.access.socket_name == ""
    pi.learn(presence_of(server))
    assert await pi.connected("server")
    sending = asyncio.ensure_future(pi.send("server", [b"over TCP"]))
    assert bytes((await next_of(server)).buffer) == b"over TCP"
    await sending
