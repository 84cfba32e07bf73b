"""Results of several megabytes on brokers with small packets: every one arrives whole, also if its device is killed."""

import asyncio
import contextlib
import itertools
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from broker.embedded import EmbeddedBroker
from broker.mosquitto import MosquittoBroker
from broker.process import BrokerProcess
from services.cli.support.fleet_operations import add_model, declare_stream
from services.cli.support.manifest import build_manifest
from services.cli.testbed import command_lines
from services.cli.testbed.processes import Processes
from shared.bus import topics
from shared.bus.connection import Connection, Received
from shared.client import Client
from shared.large_outcomes import OutcomeAssembler
from shared.messages.devices import LinkEstimate, Links, Presence, State
from shared.messages.models import OutputKind, Preprocessing
from shared.messages.requests import Outcome, OutcomeStatus
from shared.messages.streams import StreamDeclaration

# The input fits into a packet of 20 kB; the output has 12.6 MB.
SIDE, SCALE = 32, 32
OUTPUT_SHAPE = (1, 3, SIDE * SCALE, SIDE * SCALE)
BROKERS: list[Callable[[], BrokerProcess]] = [lambda: MosquittoBroker(max_packet_bytes=20_000), EmbeddedBroker]


def super_resolution(path: Path) -> None:
    """Write a model that enlarges pictures, as networks for super-resolution end: a convolution and `DepthToSpace`."""
    weights = np.random.default_rng(3).standard_normal((3 * SCALE**2, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("DepthToSpace", ["features"], ["y"], blocksize=SCALE),
    ]
    shapes = {"x": (1, 3, SIDE, SIDE), "y": OUTPUT_SHAPE}
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    graph = helper.make_graph(nodes, "enlarge", [x], [y], [numpy_helper.from_array(weights, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@contextlib.asynccontextmanager
async def fleet(
    broker: BrokerProcess, folder: Path, *devices: str, policy: bytes = b""
) -> AsyncIterator[tuple[Processes, Connection]]:
    """Start a planner and executors, and declare a stream of the model, whose source is the first of them."""
    path = folder / "enlarge.onnx"
    await asyncio.to_thread(super_resolution, path)
    manifest = await asyncio.to_thread(
        build_manifest, path, preprocessing=Preprocessing(kind="tensor"), output=OutputKind.TENSOR
    )
    async with (
        asyncio.timeout(120),
        broker,
        Processes(folder, command_lines.environment(broker.settings.address)) as processes,
        Connection.open(broker.settings) as ear,
    ):
        await ear.subscribe(topics.presence.any)
        await processes.start("planner", ("planner", "--data-dir", str(folder / "planner")))
        for device in devices:
            await processes.start(device, ("executor", "--device", device, "--data-dir", str(folder / "data")))
        online: set[str] = set()
        while online != set(devices):
            online |= _online(await anext(ear))
        await add_model(broker.settings, manifest, path)
        async with Connection.open(broker.settings) as control:
            # In the place of monitors.
            for one, other in itertools.permutations(devices, 2):
                link = LinkEstimate(target=other, bandwidth_mbps=1000.0, latency_ms=0.1)
                links = Links(device=one, sent_at_s=time.time(), links=(link,))
                await control.publish(topics.links(one), links.encode(), retain=True)
            if policy:
                await control.publish(topics.policy("s"), policy, retain=True)
            await declare_stream(control, StreamDeclaration(stream="s", model=manifest.model, source=devices[0]))
        for topic in (topics.results("s"), topics.outputs("s"), topics.outcome_chunks(devices[0])):
            await ear.subscribe(topic)
        yield processes, ear


def _online(received: Received) -> set[str]:
    presence = Presence.decode(received.payload)
    return {presence.device} if presence.state is State.ONLINE else set()


def request_file(folder: Path, seed: int) -> tuple[Path, np.ndarray]:
    """Write an input; return its file, and what the model makes of it."""
    path = folder / f"input{seed}.npy"
    array = np.random.default_rng(seed).standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)
    np.save(path, array)
    session = onnxruntime.InferenceSession(folder / "enlarge.onnx", providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": array})
    return path, np.asarray(result)


def check(outcome: Outcome, expected: np.ndarray) -> None:
    """Check that a result has the model's output."""
    assert (outcome.status, outcome.error, outcome.transfer) == (OutcomeStatus.OK, "", None)
    (output,) = outcome.outputs
    received = np.frombuffer(output.data, output.dtype).reshape(output.shape)
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)


async def submit_command(address: str, folder: Path, file: Path) -> str:
    """Run `segue submit --outputs`, and return what it prints."""
    command = ("submit", str(file), "--stream", "s", "--broker", address, "--outputs", str(folder / "out"))
    code = "import sys; from services.cli.main import main; main(sys.argv[1:])"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    return printed.decode()


async def plain_subscriber(ear: Connection, request_id: str) -> tuple[Outcome, Outcome]:
    """Return the announcement of a result, and the result in the chunks before it, as docs/wire.md describes them."""
    assembler, whole = OutcomeAssembler(), None
    async for received in ear:
        if received.user.get("request_id") != request_id:
            continue
        if received.topic == topics.outputs("s"):
            assembled = assembler.add(received.payload, "s", request_id, 0.0)
            whole = assembled.whole() if assembled is not None else whole
        elif whole is not None:
            return Outcome.decode(received.payload), whole
    raise AssertionError("unreachable")


@pytest.mark.parametrize("make_broker", BROKERS, ids=["small packets", "embedded"])
async def test_outputs_of_megabytes_reach_the_client_the_command_and_a_plain_subscriber(
    make_broker: Callable[[], BrokerProcess], tmp_path: Path
) -> None:
    broker = make_broker()
    async with fleet(broker, tmp_path, "camera") as (_, ear):
        file, expected = await asyncio.to_thread(request_file, tmp_path, 1)
        async with Client.open(broker.settings) as client:
            outcome = await client.submit("s", file.read_bytes(), timeout_s=60.0, whole_outputs=True)
        check(outcome, expected)
        announced, whole = await plain_subscriber(ear, outcome.request_id)
        check(whole, expected)
        assert announced.transfer is not None
        assert f"outputs of {announced.transfer.size_bytes} bytes are on streams/s/outputs" in announced.error
        printed = await submit_command(broker.settings.address, tmp_path, file)
        assert "y [1, 3, 1024, 1024]" in printed
        (written,) = (tmp_path / "out").iterdir()
        np.testing.assert_allclose(np.load(written), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("killed", "policy", "topic"),
    [
        ("camera", b"", topics.outputs("s")),
        ("server", b'{"devices": {"deny": ["camera"]}}', topics.outcome_chunks("camera")),
    ],
    ids=["source", "last device"],
)
async def test_a_large_result_survives_sigkill_of_the_device_that_sends_it(
    killed: str, policy: bytes, topic: str, tmp_path: Path
) -> None:
    broker = MosquittoBroker(max_packet_bytes=20_000)
    devices = dict.fromkeys(("camera", killed))
    async with (
        fleet(broker, tmp_path, *devices, policy=policy) as (processes, ear),
        Client.open(broker.settings) as client,
    ):
        file, expected = await asyncio.to_thread(request_file, tmp_path, 2)
        waiting = asyncio.create_task(client.submit("s", file.read_bytes(), timeout_s=90.0, whole_outputs=True))
        while (await anext(ear)).topic != topic:
            pass
        # In the middle of the outputs: the outcome itself comes after them.
        await processes.kill(killed)
        await processes.restart(killed)
        outcome = await waiting
        check(outcome, expected)
        assert {stage.device for stage in outcome.trace} == {killed}
        # The source's journal has it: after a SIGKILL of the source the same computation is sent again.
        await processes.kill("camera")
        await processes.restart("camera")
        again = await client.submit(
            "s", file.read_bytes(), timeout_s=90.0, whole_outputs=True, request_id=outcome.request_id
        )
        check(again, expected)
        assert (again.attempt, again.completed_at_s) == (outcome.attempt, outcome.completed_at_s)
