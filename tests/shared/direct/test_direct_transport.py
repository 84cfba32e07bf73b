"""Two devices that send to each other without a broker: over TCP, TLS, a Unix socket and shared memory."""

import asyncio
import os
import socket
from dataclasses import replace
from typing import Any

import pytest

from shared.bus.feature_maps.transport import Delivery, takes_nothing
from shared.bus.settings import BusSettings
from shared.direct.direct_channel import DirectSendFailed
from shared.direct.direct_messages import PART_BYTES
from shared.direct.direct_transport import DirectLoss, DirectTransport
from shared.direct.shared_arena import SharedArena
from shared.messages.devices import Presence, State
from tests.shared.direct.conftest import WAIT_S, Machine, next_of, presence_of, receipt_of, until

TLS_BUS = replace(BusSettings(host="127.0.0.1"), tls=True)
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tcp": ({}, {"socket_name": ""}),
    "tls": ({"broker": TLS_BUS}, {"socket_name": ""}),
    "unix": ({}, {"addresses": ()}),
    "memory": ({}, {"addresses": ()}),
}


@pytest.fixture(params=WAYS)
async def pair(
    request: pytest.FixtureRequest, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> tuple[DirectTransport, DirectTransport]:
    settings, changes = WAYS[request.param]
    machine.settings |= settings
    if request.param == "unix":
        monkeypatch.setattr("shared.direct.direct_dialer._arena", lambda: None)
    return await machine.pair(**changes)


@pytest.mark.parametrize("size_bytes", [1, 50_000, PART_BYTES, PART_BYTES + 1, 3_211_264, 12_845_056])
async def test_frames_arrive_unchanged_and_are_acknowledged(
    pair: tuple[DirectTransport, DirectTransport], size_bytes: int
) -> None:
    pi, server = pair
    frame = [os.urandom(min(size_bytes, 100)), os.urandom(max(0, size_bytes - 100)), b""]
    sending = asyncio.ensure_future(pi.send("server", frame))
    delivery = await next_of(server)
    sent = await sending
    assert bytes(delivery.buffer) == b"".join(frame)
    assert (delivery.sender, delivery.size_bytes, sent.size_bytes) == ("pi", size_bytes, size_bytes)
    assert delivery.buffer.readonly
    assert delivery.first_chunk_at_s <= delivery.completed_at_s
    assert delivery.acknowledge is not None
    delivery.acknowledge("t1", 2.5)
    receipt = await receipt_of(pi)
    assert (receipt.receiver, receipt.transfer_id, receipt.processing_ms) == ("server", "t1", 2.5)


async def test_a_pace_delays_each_part(pair: tuple[DirectTransport, DirectTransport]) -> None:
    pi, server = pair
    passed = []

    async def pace(passed_bytes: int) -> None:
        passed.append(passed_bytes)

    for size_bytes in (1000, 3 * PART_BYTES + 5):
        passed.clear()
        sending = asyncio.ensure_future(pi.send("server", [bytes(size_bytes)], pace=pace))
        assert len((await next_of(server)).buffer) == size_bytes
        await sending
        assert passed[-1] == size_bytes
        assert passed == sorted(passed)


async def test_a_small_frame_passes_a_large_one(pair: tuple[DirectTransport, DirectTransport]) -> None:
    pi, server = pair
    go_on = asyncio.Event()

    async def pace(passed_bytes: int) -> None:
        if passed_bytes > PART_BYTES:
            await go_on.wait()

    large = asyncio.ensure_future(pi.send("server", [bytes(3 * PART_BYTES)], pace=pace))
    await pi.send("server", [b"small"])
    assert bytes((await next_of(server)).buffer) == b"small"
    go_on.set()
    assert (await next_of(server)).size_bytes == 3 * PART_BYTES
    await large


async def test_a_cancelled_frame_ends_early_and_the_next_arrives(pair: tuple[DirectTransport, DirectTransport]) -> None:
    pi, server = pair

    async def pace(passed_bytes: int) -> None:
        if passed_bytes > 2 * PART_BYTES:
            await asyncio.get_running_loop().create_future()

    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pi.send("server", [bytes(100 * PART_BYTES)], pace=pace)
        await pi.send("server", [bytes(2 * PART_BYTES)])
        assert (await next_of(server)).size_bytes == 2 * PART_BYTES
    assert server._budget.used_bytes == 0


async def test_a_receiver_that_takes_nothing_holds_its_senders_back(
    pair: tuple[DirectTransport, DirectTransport],
) -> None:
    pi, server = pair
    frame = os.urandom(2 * PART_BYTES)
    sending = [asyncio.ensure_future(pi.send("server", [frame])) for _ in range(300)]
    done, _ = await asyncio.wait(sending, timeout=0.5)
    assert len(done) < 250
    assert server._budget.used_bytes <= 40 * len(frame)
    for _ in sending:
        assert (await next_of(server)).size_bytes == len(frame)
    await asyncio.gather(*sending)
    assert server._budget.used_bytes == 0


async def test_sends_of_a_lost_connection_fail_and_the_loss_is_told(
    pair: tuple[DirectTransport, DirectTransport],
) -> None:
    pi, server = pair

    async def pace(passed_bytes: int) -> None:
        if passed_bytes > PART_BYTES:
            for channel in server._listener.channels:
                channel.close("the test ends it")

    with pytest.raises(DirectSendFailed):
        await pi.send("server", [bytes(1000 * PART_BYTES)], pace=pace)
    async with asyncio.timeout(WAIT_S):
        assert await anext(pi.answers()) == DirectLoss("server")
        assert not pi.is_connected("server")
        # A plan that names the peer brings the connection back.
        pi.plan(["server"])
        await until(lambda: pi.is_connected("server"))


async def test_a_peer_that_goes_is_left_and_one_that_comes_back_is_found(machine: Machine) -> None:
    pi, server = await machine.pair()
    pi.learn(Presence(device="server", state=State.OFFLINE))
    assert not pi.is_connected("server")
    assert not await pi.connected("server")
    with pytest.raises(DirectSendFailed, match="not connected"):
        await pi.send("server", [b"x"])
    pi.learn(presence_of(server))
    assert await pi.connected("server")


async def test_a_device_without_endpoints_is_not_connected(machine: Machine) -> None:
    pi = await machine.open("pi")
    pi.plan(["server"])
    assert not await pi.connected("server")
    pi.learn(Presence(device="server", state=State.ONLINE))
    assert not await pi.connected("server")


async def test_the_shared_memory_is_used_again_when_frames_are_gone(machine: Machine) -> None:
    pi, server = await machine.pair(addresses=())
    for number in range(40):
        await pi.send("server", [bytes([number]) * 5_000_000])
        delivery = await next_of(server)
        assert bytes(delivery.buffer[-2:]) == bytes([number, number])
        del delivery
    # Frames that are kept fill it; the others go through the socket.
    kept = []
    for number in range(20):
        sending = asyncio.ensure_future(pi.send("server", [bytes([number]) * 5_000_000]))
        kept.append(await next_of(server))
        await sending
    assert [delivery.buffer[17] for delivery in kept] == list(range(20))


@pytest.mark.parametrize("address", ["192.0.2.1:1", "127.0.0.1:1", "no address", "[::1]:70000"])
async def test_an_endpoint_that_does_not_work_is_passed_over(machine: Machine, address: str) -> None:
    pi, server = await machine.open("pi"), await machine.open("server")
    access = server.access.model_copy(update={"addresses": (address, *server.access.addresses), "socket_name": ""})
    pi.learn(Presence(device="server", state=State.ONLINE, boot_id="boot", direct=access))
    assert await pi.connected("server")


async def test_two_directions_have_two_connections(machine: Machine) -> None:
    pi, server = await machine.pair()
    assert await server.connected("pi")
    await asyncio.gather(pi.send("server", [b"to server"]), server.send("pi", [b"to pi"]))
    assert bytes((await next_of(pi)).buffer) == b"to pi"
    assert bytes((await next_of(server)).buffer) == b"to server"


async def test_a_memory_file_costs_no_memory_before_it_is_used() -> None:
    arena = SharedArena()
    try:
        assert os.fstat(arena.descriptor).st_blocks == 0
    finally:
        arena.close()


async def test_a_closed_transport_leaves_nothing_behind(machine: Machine, open_files: Any) -> None:
    before = open_files()
    await machine.pair()
    await machine.stack.aclose()
    assert open_files() == before
    assert list(machine.folder.iterdir()) == []


async def test_a_port_in_use_leaves_the_unix_socket(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = await machine.open("server", port=taken.getsockname()[1])
    assert "over TCP" in caplog.text
    assert server.access.addresses == ()
    pi = await machine.open("pi")
    pi.learn(presence_of(server))
    assert await pi.connected("server")


async def test_a_small_frame_is_sent_and_taken_at_once_unless_too_many_wait(machine: Machine) -> None:
    pi, server = await machine.pair()
    taken: list[bytes] = []

    def take_a(delivery: Delivery) -> bool:
        is_mine = bytes(delivery.buffer[:1]) == b"a"
        if is_mine:
            taken.append(bytes(delivery.buffer))
        return is_mine

    server.take_now = take_a
    assert pi.send_now("server", [b"a", b"1"])
    assert pi.send_now("server", [b"b1"])
    assert pi.send_now("server", [b"a2"])
    assert not pi.send_now("nobody", [b"a"])
    assert not pi.send_now("server", [bytes(PART_BYTES + 1)])
    assert bytes((await next_of(server)).buffer) == b"b1"
    await until(lambda: taken == [b"a1", b"a2"])
    assert (pi.counters.sent, server.counters.delivered) == (3, 3)
    # A receiver that reads nothing holds the sender back.
    server.take_now = takes_nothing
    count = 0
    while pi.send_now("server", [bytes(PART_BYTES)]):
        count += 1
        assert count < 1000
    async with asyncio.timeout(WAIT_S):
        for _ in range(count):
            await next_of(server)
    await until(lambda: pi.send_now("server", [b"again"]))
