"""What Segue needs of a broker, each need with a check. docs/brokers.md has the same table for people.

Checks wait for a marker where nothing may come: what the broker sends before it would have come.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from services.cli.support.contract_bench import WAIT_S, ContractBench, ContractBroken
from shared.bus.errors import AccessRefused, PublishForbidden
from shared.bus.mqtt.properties import Properties
from shared.bus.session import Will

# Chunks of feature maps and models have half of it (`shared.bus.feature_maps.chunk_sender`).
_NEEDED_BYTES: Final = 1024 * 1024
_WEEK_S: Final = 7 * 86_400
_MANY: Final = 300
_ROUND_TRIPS: Final = 20
# Nagle's algorithm and delayed acknowledgements together take 40 ms.
_SLOW_MS: Final = 20.0

Run = Callable[[ContractBench], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class ContractCheck:
    """A need and its check.

    Attributes:
        need: a few words.
        reason: what does not work without it.
        run: tries it; returns a remark, or raises `ContractBroken`.
        is_required: whether a fleet fails without it.
    """

    need: str
    reason: str
    run: Run
    is_required: bool = True


async def _rights(bench: ContractBench) -> str:
    try:
        async with bench.client() as client:
            await client.subscribe("rights/#")
            await client.publish("rights/x", b"1")
            await client.next("a message on a topic below the root, sent to oneself,")
    except (PublishForbidden, AccessRefused) as error:
        raise ContractBroken(f"{error}; test with an account that access rules do not bound") from None
    return ""


async def _packet_size(bench: ContractBench) -> str:
    payload = bytes(range(256)) * (_NEEDED_BYTES // 256)
    async with bench.client() as sender, bench.client(at_second=True) as receiver:
        limit = sender.session.max_packet_bytes
        if limit is not None and limit < _NEEDED_BYTES + 1024:
            raise ContractBroken(f"it accepts packets of at most {limit} bytes")
        await receiver.subscribe("size")
        await sender.publish("size", payload)
        received = await receiver.next(f"a message of {_NEEDED_BYTES} bytes")
    if bytes(received.payload) != payload:
        raise ContractBroken("a message of 1 MiB arrives changed")
    return "no limit stated" if limit is None else f"up to {limit / 2**20:.0f} MiB; requests must be smaller"


async def _order(bench: ContractBench) -> str:
    async with bench.client() as sender, bench.client(at_second=True) as receiver:
        await receiver.subscribe("order/+")
        await asyncio.gather(*(sender.publish(f"order/{number % 2}", b"%d" % number) for number in range(60)))
        numbers = [int(bytes(each.payload)) for each in await receiver.take(60, "messages of QoS 1")]
    if numbers != sorted(numbers):
        raise ContractBroken("messages of one client arrive in another order")
    return ""


async def _quality_0(bench: ContractBench) -> str:
    async with bench.client() as sender, bench.client(at_second=True) as receiver:
        await receiver.subscribe("quick", 0)
        await sender.publish("quick", b"1", qos=0)
        await receiver.next("a message of QoS 0")
    return ""


async def _properties(bench: ContractBench) -> str:
    sent = Properties(
        correlation_data=b"\x00\xff",
        response_topic=f"{bench.settings.root}/replies/x",
        content_type="image/jpeg",
        user={"request_id": "r-1", "accept": "msgpack"},
        expiry_s=600,
    )
    async with bench.client() as sender, bench.client(at_second=True) as receiver:
        await receiver.subscribe("properties")
        await sender.publish("properties", b"1", properties=sent)
        got = (await receiver.next("a message with properties")).properties
    for name in ("correlation_data", "response_topic", "content_type"):
        if getattr(got, name) != getattr(sent, name):
            raise ContractBroken(f"{name.replace('_', ' ')} is {getattr(got, name)!r} and not {getattr(sent, name)!r}")
    if dict(got.user) != dict(sent.user):
        raise ContractBroken(f"user properties are {dict(got.user)} and not {dict(sent.user)}")
    if got.expiry_s is None or got.expiry_s > 600:
        raise ContractBroken(f"the expiry is {got.expiry_s} s and not 600 s")
    return ""


def _retained_by(topic_filter: str) -> Run:
    async def run(bench: ContractBench) -> str:
        topic = f"retained{topic_filter.count('+')}{topic_filter.count('#')}/a/b"
        async with bench.client() as sender:
            await bench.retain(sender, topic, b"old")
            await bench.retain(sender, topic, b"new")
        async with bench.client(at_second=True) as receiver:
            await receiver.subscribe(topic.partition("/")[0] + topic_filter)
            received = await receiver.next("a retained message, for a later subscriber,")
        if bytes(received.payload) != b"new":
            raise ContractBroken("the older of two retained messages arrives")
        if not received.retain:
            raise ContractBroken("a retained message arrives without the RETAIN flag")
        return ""

    return run


async def _retained_many(bench: ContractBench) -> str:
    async with bench.client() as sender:
        for number in range(_MANY):
            await bench.retain(sender, f"many/{number}", b"%d" % number)
    async with bench.client(at_second=True) as receiver:
        await receiver.subscribe("many/+")
        found = await receiver.take(_MANY, "retained messages for one subscription")
    if {int(bytes(each.payload)) for each in found} != set(range(_MANY)):
        raise ContractBroken("some retained messages arrive twice, and others not")
    return ""


async def _retained_properties(bench: ContractBench) -> str:
    async with bench.client() as sender:
        await bench.retain(sender, "signed", b"plan", Properties(user={"signature": "s" * 200}))
    async with bench.client(at_second=True) as receiver:
        await receiver.subscribe("#")
        while (received := await receiver.next("a retained message with user properties")).topic != "signed":
            pass
    if dict(received.user) != {"signature": "s" * 200}:
        raise ContractBroken("a retained message loses its user properties")
    return ""


async def _retained_cleared(bench: ContractBench) -> str:
    async with bench.client() as sender:
        await bench.retain(sender, "cleared/a", b"1")
        await bench.retain(sender, "cleared/b", b"1")
        await sender.publish("cleared/a", b"", retain=True)
    async with bench.client(at_second=True) as receiver:
        await receiver.subscribe("cleared/+")
        received = await receiver.next("the other retained message")
        if received.topic == "cleared/a":
            raise ContractBroken("a retained message that was cleared arrives")
    return ""


async def _will(bench: ContractBench) -> str:
    bench.will_retain("will")
    async with bench.client(at_second=True) as watcher:
        await watcher.subscribe("will")
        async with bench.client(will=Will("will", b"gone")) as dying:
            dying.session.abort()
            received = await watcher.next("the will of a client that vanishes")
    if bytes(received.payload) != b"gone":
        raise ContractBroken("another message than the will arrives")
    async with bench.client(at_second=True) as later:
        await later.subscribe("will")
        await later.next("a retained will, for a later subscriber,")
    return ""


async def _no_will(bench: ContractBench) -> str:
    async with bench.client(at_second=True) as watcher:
        await watcher.subscribe("farewell/+")
        async with bench.client(will=Will("farewell/will", b"gone", retain=False)):
            pass
        async with bench.client() as sender:
            await sender.publish("farewell/marker", b"1")
        if (await watcher.next("a message after a client has left")).topic == "farewell/will":
            raise ContractBroken("the will of a client that has disconnected properly is published")
    return ""


async def _session(bench: ContractBench) -> str:
    async with bench.client("mailbox", persistent=True) as away:
        expiry_s = away.session.session_expiry_s
        await away.subscribe("mailbox")
    async with bench.client() as sender:
        for number in range(20):
            await sender.publish("mailbox", b"%d" % number)
    async with bench.client("mailbox", persistent=True) as back:
        if not back.is_resumed:
            raise ContractBroken("the session of a client that was away is gone")
        numbers = [int(bytes(each.payload)) for each in await back.take(20, "messages that waited for a client")]
    if numbers != list(range(20)):
        raise ContractBroken("messages that waited for a client come in another order")
    if expiry_s < _WEEK_S:
        return f"sessions are kept for {expiry_s} s only: so long may a source be off"
    return "kept for a week, as asked"


async def _redelivery(bench: ContractBench) -> str:
    async with bench.client("taker", persistent=True, keeps_unacknowledged=True) as first:
        await first.subscribe("job")
        async with bench.client() as sender:
            await sender.publish("job", b"1")
        await first.next("a message of QoS 1")
        first.session.abort()
    async with bench.client("taker", persistent=True) as second:
        await second.next("a message that was not acknowledged before the connection was lost")
    return ""


async def _takeover(bench: ContractBench) -> str:
    async with bench.client("twin") as first, bench.client("twin"):
        try:
            async with asyncio.timeout(WAIT_S):
                await first.session.lost()
        except TimeoutError:
            raise ContractBroken("two clients of one id stay connected") from None
    return ""


async def _receive_maximum(bench: ContractBench) -> str:
    async with bench.client(keeps_unacknowledged=True, receive_maximum=4) as slow, bench.client() as sender:
        await slow.subscribe("flow")
        for number in range(12):
            await sender.publish("flow", b"%d" % number)
        found = await slow.take(4, "messages within the receive maximum")
        # An answer to a subscription comes behind what was sent before.
        await slow.subscribe("flow/marker")
        if slow.waiting:
            raise ContractBroken(f"{len(found) + slow.waiting} of at most 4 unacknowledged messages arrive")
    return ""


async def _long_ids(bench: ContractBench) -> str:
    async with bench.client("i" * 100) as client:
        await client.subscribe("/".join("deep"[:1] * 14))
        await client.publish("/".join("deep"[:1] * 14), b"1")
        await client.next("a message on a topic of 14 levels")
    return ""


async def _many_filters(bench: ContractBench) -> str:
    async with bench.client() as client:
        for number in range(200):
            await client.subscribe(f"filter/{number}/+")
        await client.publish("filter/0/x", b"1")
        await client.publish("filter/199/x", b"1")
        await client.take(2, "messages for the first and the last of 200 filters")
    return ""


async def _quick(bench: ContractBench) -> str:
    times_ms = []
    async with bench.client() as sender, bench.client(at_second=True) as receiver:
        await receiver.subscribe("round")
        for _ in range(_ROUND_TRIPS):
            begun_s = time.perf_counter()
            await sender.publish("round", b"x" * 200, qos=0)
            await receiver.next("a small message")
            times_ms.append(1000 * (time.perf_counter() - begun_s))
    median_ms = statistics.median(times_ms)
    if median_ms > _SLOW_MS:
        raise ContractBroken(f"a small message takes {median_ms:.0f} ms: see that the broker sets TCP_NODELAY")
    return f"{median_ms:.1f} ms"


CHECKS: Final = (
    ContractCheck("rights below the root", "nothing works", _rights),
    ContractCheck(
        "packets of 1 MiB", "feature maps and models travel in chunks of 512 KiB, requests whole", _packet_size
    ),
    ContractCheck("order of QoS 1", "chunks, commands and plans follow each other", _order),
    ContractCheck("QoS 0", "telemetry, receipts and probes", _quality_0),
    ContractCheck("properties", "ids of requests, response topics and signatures travel in them", _properties),
    ContractCheck("retained messages", "presence, plans and models are retained", _retained_by("/a/b")),
    ContractCheck("retained through +", "services find devices, models and streams by wildcard", _retained_by("/+/+")),
    ContractCheck("retained through #", "`segue doctor` and applications look at everything", _retained_by("/#")),
    ContractCheck(
        "retained with properties", "devices follow plans and manifests that are signed", _retained_properties
    ),
    ContractCheck("retained messages cleared", "streams and devices are forgotten", _retained_cleared),
    ContractCheck(
        f"{_MANY} retained at once", "devices times models, in a larger fleet", _retained_many, is_required=False
    ),
    ContractCheck("last will", "a device that loses power is routed around", _will),
    ContractCheck("no will after DISCONNECT", "a service that stops is not reported as failed", _no_will),
    ContractCheck("persistent sessions", "requests wait for a source that restarts", _session),
    ContractCheck("redelivery of QoS 1", "requests survive the loss of their source's connection", _redelivery),
    ContractCheck("takeover of client ids", "a service replaces its own dead connection at once", _takeover),
    ContractCheck(
        "receive maximum", "a busy service is not flooded; else its queue drops", _receive_maximum, is_required=False
    ),
    ContractCheck("long ids and topics", "client ids have a secret part; replies have up to 12 levels", _long_ids),
    ContractCheck("200 filters", "a planner subscribes to many topics", _many_filters),
    ContractCheck("small messages at once", "40 ms per hop are lost otherwise", _quick, is_required=False),
)
