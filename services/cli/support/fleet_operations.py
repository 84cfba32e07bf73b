"""An operator's actions on a running fleet: add models, declare streams, set policies, read its state."""

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from services.cli.render.fleet_view import FILTERS, FleetView
from shared.bus import topics
from shared.bus.connection import Connection, unique_client_id
from shared.bus.errors import BusError
from shared.bus.model_files.model_exchange import serve_models
from shared.bus.receive_queue import Received
from shared.bus.settings import BusSettings
from shared.exit_status import InputError
from shared.messages.calibration import Calibration
from shared.messages.devices import ServicePresence, State, offline
from shared.messages.explanations import Explanation, Question
from shared.messages.models import Manifest, ModelVersion, Offer
from shared.messages.streams import CommittedPlan, StreamDeclaration, StreamPhase, StreamStatus

# Provider of the models that the planner's library has taken over.
LIBRARY: Final = "planner"

# Longest wait of a command for the broker.
CONNECT_TIMEOUT_S: Final = 5.0

_OFFER_INTERVAL_S: Final = 5.0
_POLL_S: Final = 0.1
_RETAINED_S: Final = 0.5
_QUIET_S: Final = 0.4

# Receives the bytes sent so far and the bytes of the whole model.
OnProgress = Callable[[int, int], None]

OnStatus = Callable[[StreamStatus], None]


class FleetSilent(BusError):
    """The broker is connected, but the expected service does not answer."""


@contextlib.asynccontextmanager
async def operator(settings: BusSettings, *, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> AsyncIterator[Connection]:
    """Connect as an operator, for the time of a command."""
    async with Connection.open(
        settings, client_id=unique_client_id("segue-cli"), connect_timeout_s=connect_timeout_s
    ) as connection:
        yield connection


async def look(connection: Connection, filters: Iterable[str] = FILTERS) -> FleetView:
    """Return the state in the retained messages of some topics."""
    view = FleetView()
    async for received in _until_quiet(connection, filters):
        view.handle(received.topic, received.payload, time.time())
    return view


async def retained_topics(connection: Connection, filters: Iterable[str]) -> list[str]:
    """Return the topics that hold a retained message, in alphabetical order."""
    return sorted({received.topic async for received in _until_quiet(connection, filters) if received.payload})


async def _until_quiet(connection: Connection, filters: Iterable[str]) -> AsyncIterator[Received]:
    # MQTT does not mark the last retained message, so a pause counts as the end of them.
    for topic_filter in filters:
        await connection.subscribe(topic_filter)
    while True:
        try:
            async with asyncio.timeout(_QUIET_S):
                received = await anext(connection)
        except TimeoutError:
            return
        yield received


async def listen(settings: BusSettings, duration_s: float) -> FleetView:
    """Return the retained state of the fleet, updated by all messages within `duration_s`."""
    view = FleetView()
    async with operator(settings) as connection:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(duration_s):
                await follow(connection, view)
    return view


async def follow(connection: Connection, view: FleetView, filters: Iterable[str] = FILTERS) -> None:
    """Keep `view` up to date until cancelled."""
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
    """Offer a model to the planner's library, and serve its bytes until the library has it.

    Args:
        settings: where the broker is.
        manifest: from `build_manifest`.
        file: the packed file, or the ONNX file for a manifest without packing.
        on_progress: called with the progress.
        stall_s: longest time without a request for bytes.

    Returns:
        The manifest as the library publishes it.

    Raises:
        FleetSilent: no planner fetches the model.
        BusError: the broker is out of reach.
    """
    provider = unique_client_id("cli")
    offer = Offer(manifest=manifest.model_copy(update={"provider": provider}), provider=provider)
    async with operator(settings) as control, operator(settings) as bulk:
        await control.subscribe(topics.manifest(manifest.model))
        await bulk.subscribe(topics.pulls("+", provider))
        serving = asyncio.create_task(
            serve_models(bulk, provider, lambda file_id: file if file_id == manifest.file_id else None),
            name="serve the model",
        )
        try:
            return await _until_in_library(control, bulk, offer, on_progress, stall_s)
        finally:
            serving.cancel()
            await asyncio.wait([serving])


async def _until_in_library(
    control: Connection, bulk: Connection, offer: Offer, on_progress: OnProgress | None, stall_s: float
) -> Manifest:
    offered, size_bytes = offer.manifest, offer.manifest.size_bytes
    sent_bytes, moved_at_s, offered_at_s = -1, time.monotonic(), float("-inf")
    while True:
        now_s = time.monotonic()
        if bulk.counters.published_bytes != sent_bytes:
            sent_bytes, moved_at_s = bulk.counters.published_bytes, now_s
            if on_progress is not None:
                on_progress(min(sent_bytes, size_bytes), size_bytes)
        if now_s - moved_at_s > stall_s:
            raise FleetSilent(f"nobody takes model {offered.name}: is a planner running? Run `segue doctor`")
        # An offer is not retained: a planner that starts later gets the next one.
        is_stalled = sent_bytes == 0 or now_s - moved_at_s > _OFFER_INTERVAL_S
        if is_stalled and now_s - offered_at_s > _OFFER_INTERVAL_S:
            await control.publish(topics.offer(offered.model), offer.encode())
            offered_at_s = now_s
        try:
            async with asyncio.timeout(_POLL_S):
                received = await anext(control)
        except TimeoutError:
            continue
        published = Manifest.decode(received.payload) if received.payload else None
        if published is not None and _is_in_library(published, offered):
            if on_progress is not None:
                on_progress(size_bytes, size_bytes)
            return published


def _is_in_library(published: Manifest, offered: Manifest) -> bool:
    return published.provider == LIBRARY and published == offered.model_copy(update={"provider": LIBRARY})


async def publish_offline(settings: BusSettings, device: str) -> None:
    """Publish that a device's executor and monitor are gone. Mosquitto drops the last will of a revoked account.

    Raises:
        BusError: the broker is out of reach.
    """
    monitor = ServicePresence(name=topics.monitor_name(device), role="monitor", state=State.OFFLINE)
    async with operator(settings) as connection:
        await connection.publish(topics.presence(device), offline(device).encode(), retain=True)
        await connection.publish(topics.service_presence(monitor.name), monitor.encode(), retain=True)


async def declare_stream(connection: Connection, declaration: StreamDeclaration) -> None:
    """Publish a stream's declaration."""
    await connection.publish(topics.stream(declaration.stream), declaration.encode(), retain=True)


async def publish_calibration(connection: Connection, calibration: Calibration) -> None:
    """Publish a calibration, retained for services that start later."""
    await connection.publish(topics.calibration(calibration.model), calibration.encode(), qos=1, retain=True)


async def restore_version(connection: Connection, version: ModelVersion, *, timeout_s: float) -> None:
    """Make a version of a model the newest one again. The library has its file.

    Raises:
        FleetSilent: no planner answers in time.
    """
    manifest = version.manifest
    topic = topics.manifest(version.model)
    await connection.subscribe(topic)
    await connection.publish(topics.offer(version.model), Offer(manifest=manifest, provider=manifest.provider).encode())
    try:
        async with asyncio.timeout(timeout_s):
            async for received in connection:
                # A retained message is the state before.
                is_answer = received.topic == topic and received.payload and not received.retain
                if is_answer and Manifest.decode(received.payload).version() == manifest.version():
                    return
    except TimeoutError:
        raise FleetSilent(f"no planner answers within {timeout_s:g} s: is it running? Run `segue doctor`") from None


async def clear_retained(connection: Connection, topic_names: Collection[str]) -> None:
    """Clear retained messages of the planner.

    Raises:
        InputError: the planner publishes one again, because it is in use.
    """
    for topic in sorted(topic_names):
        await connection.publish(topic, b"", retain=True)
    # The planner publishes again what is in use, and MQTT does not say when it has decided.
    remaining = await retained_topics(connection, topic_names)
    if remaining:
        raise InputError(f"the planner keeps {', '.join(remaining)}, which is in use")


async def until_plan_of(connection: Connection, stream: str, version: str, *, timeout_s: float) -> None:
    """Wait until a stream runs a version of its model.

    Raises:
        FleetSilent: not in time.
    """
    topic = topics.plan(stream)
    await connection.subscribe(topic)
    try:
        async with asyncio.timeout(timeout_s):
            async for received in connection:
                is_plan = received.topic == topic and received.payload
                if is_plan and CommittedPlan.decode(received.payload).version == version:
                    return
    except TimeoutError:
        text = f"stream {stream} has no plan under this version after {timeout_s:g} s: see `segue stream list`"
        raise FleetSilent(text) from None


async def declaration_of(connection: Connection, stream: str) -> StreamDeclaration | None:
    """Return a stream's retained declaration; None if it has none."""
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
    """Withdraw a stream, so that the planner takes its route back."""
    # A declaration without a model marks a withdrawal.
    declaration = StreamDeclaration(stream=name, model="", source=source)
    await connection.publish(topics.stream(name), declaration.encode(), retain=True)


async def set_policy(
    connection: Connection, stream: str, document: Mapping[str, Any], *, timeout_s: float
) -> StreamStatus:
    """Publish a policy and wait for the planner's answer.

    Args:
        connection: an operator's.
        stream: the stream of the policy.
        document: the policy as JSON values. A new `revision` is added, which the planner's answer repeats.
        timeout_s: how long to wait for the answer.

    Raises:
        FleetSilent: no answer in time.
    """
    revision = uuid.uuid4().hex
    await connection.subscribe(topics.status(stream))
    await connection.publish(
        topics.policy(stream), json.dumps({**document, "revision": revision}).encode(), retain=True
    )
    return await _next_status(
        connection,
        lambda status: status.policy_revision == revision,
        f"no planner answers the policy of stream {stream} within {timeout_s:g} s",
        timeout_s,
    )


async def ask_planner(connection: Connection, stream: str, *, timeout_s: float) -> Explanation:
    """Return the planner's present problem of a stream.

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
    raise FleetSilent(f"no planner explains stream {stream} within {timeout_s:g} s: run `segue doctor`")


async def until_running(
    connection: Connection, stream: str, *, timeout_s: float, on_status: OnStatus | None = None
) -> StreamStatus:
    """Wait until the planner routes a stream or declares it infeasible.

    Raises:
        FleetSilent: neither in time; the text holds the last reasons.
    """
    await connection.subscribe(topics.status(stream))
    last: list[StreamStatus] = []

    def settled(status: StreamStatus) -> bool:
        last[:] = [status]
        if on_status is not None:
            on_status(status)
        return status.state in (StreamPhase.RUNNING, StreamPhase.INFEASIBLE)

    try:
        return await _next_status(
            connection, settled, f"no planner takes stream {stream} within {timeout_s:g} s", timeout_s
        )
    except FleetSilent:
        if last:
            reasons = "; ".join(last[0].reasons) or "no reason given"
            raise FleetSilent(f"stream {stream} is {last[0].state} after {timeout_s:g} s: {reasons}") from None
        raise


async def _next_status(
    connection: Connection, is_awaited: Callable[[StreamStatus], bool], complaint: str, timeout_s: float
) -> StreamStatus:
    try:
        async with asyncio.timeout(timeout_s):
            async for received in connection:
                if received.topic.endswith("/status") and received.payload:
                    status = StreamStatus.decode(received.payload)
                    if is_awaited(status):
                        return status
    except TimeoutError:
        view = await look(connection, (topics.service_presence.any,))
        troubles = [service.trouble for service in view.services.values() if service.role == "planner"]
        reason = next(filter(None, troubles), "is it running? Run `segue doctor`")
        raise FleetSilent(f"{complaint}: {reason}") from None
    raise FleetSilent(complaint)
