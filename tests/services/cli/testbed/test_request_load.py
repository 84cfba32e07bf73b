"""A steady load against a stand-in for a fleet."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from broker.embedded import EmbeddedBroker
from services.cli.support.label_files import read_labels
from services.cli.support.manifest import build_manifest, parse_preprocessing
from services.cli.testbed.reference_outputs import ReferenceOutputs
from services.cli.testbed.request_load import LoadSettings, RequestLoad
from shared.bus import topics
from shared.bus.connection import Connection
from shared.client import Client
from shared.messages.requests import REQUEST_ID_PROPERTY, ErrorCause, Outcome, OutcomeStatus, OutputTensor
from tests.support.shared_paths import DEMO_DATA

DATA = DEMO_DATA
STREAM = "camera"
WAIT_S = 20.0


def outcome(identity: str, *outputs: OutputTensor, status: OutcomeStatus = OutcomeStatus.OK) -> Outcome:
    cause = ErrorCause.EXECUTION if status is OutcomeStatus.ERROR else None
    return Outcome(request_id=identity, stream=STREAM, status=status, outputs=outputs, cause=cause)


@asynccontextmanager
async def echoing(broker: EmbeddedBroker, answers: Callable[[bytes], bool]) -> AsyncIterator[list[bytes]]:
    """A stand-in for a fleet that answers the payloads which `answers` picks. Yields the payloads it was sent."""
    seen: list[bytes] = []

    async def serve(connection: Connection) -> None:
        async for received in connection:
            seen.append(bytes(received.payload))
            if answers(seen[-1]):
                result = outcome(received.user[REQUEST_ID_PROPERTY])
                await connection.publish(topics.results(STREAM), result.encode())

    async with Connection.open(broker.settings) as connection:
        await connection.subscribe(topics.requests(STREAM))
        task = asyncio.create_task(serve(connection))
        try:
            yield seen
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_payloads_are_taken_in_turn_up_to_the_limit_and_each_is_compared() -> None:
    async with (
        EmbeddedBroker() as broker,
        echoing(broker, lambda _: True) as seen,
        Client.open(broker.settings) as client,
    ):
        settings = LoadSettings(STREAM, in_flight=1, limit=5)
        load = RequestLoad(client, [b"a", b"b"], settings, lambda payload, _: payload == b"b")
        async with asyncio.timeout(WAIT_S):
            await load.run()
    assert seen == [b"a", b"b", b"a", b"b", b"a"]
    assert [record.mismatch for record in load.records] == [False, True, False, True, False]
    assert len({record.request_id for record in load.records}) == 5
    assert all(record.submitted_at_s <= record.finished_at_s for record in load.records)


async def test_a_request_without_an_outcome_is_written_down_as_lost() -> None:
    async with (
        EmbeddedBroker() as broker,
        echoing(broker, lambda payload: payload != b"lost"),
        Client.open(broker.settings) as client,
    ):
        settings = LoadSettings(STREAM, in_flight=1, limit=3, timeout_s=1.0)
        load = RequestLoad(client, [b"a", b"lost", b"b"], settings, lambda *_: False)
        async with asyncio.timeout(WAIT_S):
            await load.run()
    assert [record.outcome is None for record in load.records] == [False, True, False]


async def test_stopping_ends_a_paced_flow_without_a_limit_at_once() -> None:
    answered = asyncio.Event()

    def answer(_: bytes) -> bool:
        answered.set()
        return True

    async with EmbeddedBroker() as broker, echoing(broker, answer), Client.open(broker.settings) as client:
        load = RequestLoad(client, [b"a"], LoadSettings(STREAM, in_flight=2, rate_hz=0.01), lambda *_: False)
        flow = asyncio.create_task(load.run())
        async with asyncio.timeout(WAIT_S):
            await answered.wait()
            load.stop()
            await flow
    assert len(load.records) == 1


@pytest.fixture(scope="module")
def reference() -> ReferenceOutputs:
    file = DATA / "squeezenet1.1.onnx"
    steps = parse_preprocessing({"channel_order": "BGR", "mean": [104.0, 117.0, 123.0]})
    return ReferenceOutputs(build_manifest(file, preprocessing=steps), file, 1e-5)


def test_a_result_is_held_against_the_whole_model(reference: ReferenceOutputs) -> None:
    photo = (DATA / "photos" / "coffee.jpg").read_bytes()
    whole = reference.outputs(photo)["prob"]
    labels = read_labels(DATA / "imagenet_labels.json")
    assert labels[int(whole.argmax())] == "espresso"

    def tensor(values: np.ndarray) -> OutputTensor:
        return OutputTensor(name="prob", dtype="float32", shape=values.shape, data=values.tobytes())

    off = whole.copy()
    off[0, 7] += 1e-3
    assert not reference.differs(photo, outcome("r", tensor(whole)))
    assert not reference.differs(photo, outcome("r", tensor(whole * np.float32(1 + 1e-6))))
    assert reference.differs(photo, outcome("r", tensor(off)))
    assert reference.differs(photo, outcome("r", tensor(whole[:, :999].copy())))
    assert reference.differs(photo, outcome("r"))
    assert not reference.differs(photo, outcome("r", status=OutcomeStatus.ERROR))
