"""What an operator does with a running fleet: add models, declare streams, set policies, look around."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from services.cli.render.fleet_view import FILTERS, FleetView
from shared.bus import topics
from shared.bus.connection import Connection, unique_client_id
from shared.bus.errors import BusError
from shared.bus.model_exchange import serve_models
from shared.bus.settings import BusSettings
from shared.messages.calibration import Calibration
from shared.messages.explanations import Explanation, Question
from shared.messages.models import Manifest, Offer
from shared.messages.streams import StreamDeclaration, StreamState, StreamStatus

LIBRARY = "planner"
"""The provider of models that the fleet has taken over."""

CONNECT_TIMEOUT_S = 5.0
"""How long a command waits for the broker."""

_OFFER_AGAIN_S = 5.0
_RETAINED_S = 0.5

OnProgress = Callable[[int, int], None]
"""Is told the bytes sent and the bytes of the whole."""

OnStatus = Callable[[StreamStatus], None]


class FleetSilent(BusError):
    """The broker is there, but nobody answers: no planner, say."""


@asynccontextmanager
async def operator(settings: BusSettings, *, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> AsyncIterator[Connection]:
    """Connect as an operator, for the time of a command."""
    async with Connection.open(
        settings, client_id=unique_client_id("segue-cli"), connect_timeout_s=connect_timeout_s
    ) as connection:
        yield connection


async def look(connection: Connection, filters: Iterable[str] = FILTERS, *, quiet_s: float = 0.4) -> FleetView:
    """Return what retained messages tell, once none has come for `quiet_s`."""
    view = FleetView()
    for topic_filter in filters:
        await connection.subscribe(topic_filter)
    while True:
        try:
            async with asyncio.timeout(quiet_s):
                received = await anext(connection)
        except TimeoutError:
            return view
        view.handle(received.topic, received.payload, time.time())


async def follow(connection: Connection, view: FleetView, filters: Iterable[str] = FILTERS) -> None:
    """Keep `view` up to date for ever."""
    for topic_filter in filters:
        await connection.subscribe(topic_filter)
    async for received in connection:
        view.handle(received.topic, received.payload, time.time())


async def add_model(
    settings: BusSettings,
    manifest: Manifest,
    file: Path,
    *,
    on_progress: OnProgress | None = None,
    stall_s: float = 30.0,
) -> Manifest:
    """Offer a model to the fleet's library, and serve its bytes until the library has it.

    Args:
        settings: where the broker is.
        manifest: from `build_manifest`.
        file: the ONNX file.
        on_progress: told from time to time.
        stall_s: give up when nothing has been asked for so long.

    Returns:
        The manifest as the library publishes it.

    Raises:
        FleetSilent: no planner takes the model.
        BusError: the broker is out of reach.
    """
    provider = unique_client_id("cli")
    offer = Offer(manifest=manifest.model_copy(update={"provider": provider}), provider=provider)
    async with operator(settings) as control, operator(settings) as bulk:
        await control.subscribe(topics.manifest(manifest.model))
        await bulk.subscribe(topics.pulls("+", provider))
        serving = asyncio.create_task(
            serve_models(bulk, provider, lambda sha256: file if sha256 == manifest.model else None),
            name="serve the model",
        )
        try:
            return await _until_taken(control, bulk, offer, on_progress, stall_s)
        finally:
            serving.cancel()
            await asyncio.wait([serving])


async def _until_taken(
    control: Connection, bulk: Connection, offer: Offer, on_progress: OnProgress | None, stall_s: float
) -> Manifest:
    wanted, size_bytes = offer.manifest, offer.manifest.size_bytes
    sent_bytes, moved_at_s, offered_at_s = -1, time.monotonic(), float("-inf")
    while True:
        now_s = time.monotonic()
        if bulk.counters.published_bytes != sent_bytes:
            sent_bytes, moved_at_s = bulk.counters.published_bytes, now_s
            if on_progress is not None:
                on_progress(min(sent_bytes, size_bytes), size_bytes)
        if now_s - moved_at_s > stall_s:
            raise FleetSilent(f"nobody takes model {wanted.name}: is a planner running? `segue doctor` tells")
        if now_s - offered_at_s > _OFFER_AGAIN_S and (now_s - moved_at_s > _OFFER_AGAIN_S or sent_bytes == 0):
            await control.publish(topics.offer(wanted.model), offer.encode())
            offered_at_s = now_s
        try:
            async with asyncio.timeout(0.1):
                received = await anext(control)
        except TimeoutError:
            continue
        published = Manifest.decode(received.payload) if received.payload else None
        if published is not None and _same(published, wanted):
            if on_progress is not None:
                on_progress(size_bytes, size_bytes)
            return published


def _same(published: Manifest, wanted: Manifest) -> bool:
    return published.provider == LIBRARY and published == wanted.model_copy(update={"provider": LIBRARY})


async def declare_stream(connection: Connection, declaration: StreamDeclaration) -> None:
    """Publish a stream."""
    await connection.publish(topics.stream(declaration.stream), declaration.encode(), retain=True)


async def publish_calibration(connection: Connection, calibration: Calibration) -> None:
    """Share a calibration with the fleet, those to come included."""
    await connection.publish(topics.calibration(calibration.model), calibration.encode(), qos=1, retain=True)


async def declaration_of(connection: Connection, stream: str) -> StreamDeclaration | None:
    """Return a stream's declaration, None if it has none: what is retained is there at once."""
    topic = topics.stream(stream)
    await connection.subscribe(topic)
    try:
        async with asyncio.timeout(_RETAINED_S):
            async for received in connection:
                if received.topic == topic:
                    return StreamDeclaration.decode(received.payload) if received.payload else None
    except TimeoutError:
        pass
    return None


async def withdraw_stream(connection: Connection, name: str, source: str) -> None:
    """Withdraw a stream: nothing routes it any more."""
    declaration = StreamDeclaration(stream=name, model="", source=source)
    await connection.publish(topics.stream(name), declaration.encode(), retain=True)


async def set_policy(
    connection: Connection, stream: str, document: Mapping[str, Any], *, timeout_s: float
) -> StreamStatus:
    """Publish a policy and wait for the planner's verdict.

    Args:
        connection: an operator's.
        stream: whose policy it is.
        document: the policy as JSON values; it goes out with a fresh `revision`, which the verdict repeats.
        timeout_s: how long to wait for the verdict.

    Raises:
        FleetSilent: no verdict in time.
    """
    revision = uuid.uuid4().hex
    await connection.subscribe(topics.status(stream))
    await connection.publish(
        topics.policy(stream), json.dumps({**document, "revision": revision}).encode(), retain=True
    )
    return await _status(
        connection,
        lambda status: status.policy_revision == revision,
        f"no planner judges the policy of stream {stream} within {timeout_s:g} s",
        timeout_s,
    )


async def ask_planner(connection: Connection, stream: str, *, timeout_s: float) -> Explanation:
    """Ask the planner for the present problem of a stream.

    Args:
        connection: an operator's.
        stream: its name.
        timeout_s: how long to wait for the answer.

    Raises:
        FleetSilent: no answer in time.
    """
    asker = unique_client_id("explain")
    answer_topic = topics.explanations(stream, asker)
    await connection.subscribe(answer_topic)
    await connection.publish(topics.questions(stream), Question(stream=stream, asker=asker).encode())
    try:
        async with asyncio.timeout(timeout_s):
            async for received in connection:
                if received.topic == answer_topic:
                    return Explanation.decode(received.payload)
    except TimeoutError:
        pass
    raise FleetSilent(f"no planner explains stream {stream} within {timeout_s:g} s: `segue doctor` tells more")


async def until_running(
    connection: Connection, stream: str, *, timeout_s: float, on_status: OnStatus | None = None
) -> StreamStatus:
    """Wait until the planner routes a stream, or says that it cannot.

    Raises:
        FleetSilent: neither in time; the text holds the last reasons.
    """
    await connection.subscribe(topics.status(stream))
    last: list[StreamStatus] = []

    def settled(status: StreamStatus) -> bool:
        last[:] = [status]
        if on_status is not None:
            on_status(status)
        return status.state in (StreamState.RUNNING, StreamState.INFEASIBLE)

    try:
        return await _status(connection, settled, f"no planner takes stream {stream} within {timeout_s:g} s", timeout_s)
    except FleetSilent:
        if last:
            reasons = "; ".join(last[0].reasons) or "no reason given"
            raise FleetSilent(f"stream {stream} is {last[0].state} after {timeout_s:g} s: {reasons}") from None
        raise


async def _status(
    connection: Connection, wanted: Callable[[StreamStatus], bool], complaint: str, timeout_s: float
) -> StreamStatus:
    try:
        async with asyncio.timeout(timeout_s):
            async for received in connection:
                if received.topic.endswith("/status") and received.payload:
                    status = StreamStatus.decode(received.payload)
                    if wanted(status):
                        return status
    except TimeoutError:
        raise FleetSilent(f"{complaint}: is it running? `segue doctor` tells") from None
    raise FleetSilent(complaint)
