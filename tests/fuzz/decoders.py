"""Coverage-guided fuzzing of everything that decodes bytes of others; `make fuzz` runs it for ten minutes.

The first byte of an input chooses a target. Decoders may return a value or raise their one error; anything else, and
memory beyond the declared bound, is a finding: libFuzzer then writes the input to `crash-*` or `oom-*` and fails.
"""

import contextlib
import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import atheris

from tests.support.shared_paths import GOLDEN

with atheris.instrument_imports(
    include=[
        "shared",
        "services.executor.feature_maps",
        "services.executor.segments.coding",
        "services.executor.segments.prepare",
        "services.executor.source.intake",
    ]
):
    from services.executor.errors import BadInput
    from services.executor.feature_maps import decode_feature_map, encode_feature_map
    from services.executor.segments.coding import Coder
    from services.executor.segments.engine import EngineSettings
    from services.executor.segments.prepare import prepare
    from services.executor.source.intake import request_from_message
    from shared.asyncapi import message_classes
    from shared.bus.chunks import Reassembler, decode_chunk, split_message
    from shared.bus.errors import DecodeError
    from shared.bus.frame import decode_frame, encode_frame
    from shared.bus.mqtt.properties import Properties
    from shared.codecs import CodecError, TensorSpec, decode_tensor, encode_tensor, make_registry, seal
    from shared.direct.direct_decoder import DirectDecoder
    from shared.direct.direct_messages import (
        FrameArrived,
        Greeted,
        MessageKind,
        Side,
        frame_messages,
        message,
    )
    from shared.direct.greetings import Hello, decode_hello, encode_greeting
    from shared.direct.memory_budget import MemoryBudget
    from shared.lane.input_assembly import InputAssembler, InputKey
    from shared.lane.lane_messages import Piece, TableMessage, decode_lane_message, encode_rows
    from shared.lane.lane_requests import facts_of, header_of
    from shared.lane.lane_tables import ReceivedTables, SentTables, tensors_of
    from shared.messages.base import MessageError
    from shared.messages.models import Manifest, ManifestBlock, Preprocessing, TensorDescription
    from shared.messages.requests import ACCEPT_PROPERTY, REQUEST_ID_PROPERTY, FeatureMapHeader
    from shared.messages.streams import PlanStage

import msgpack
import numpy as np
from PIL import Image

LIMIT_BYTES = 1 << 20
"""Largest tensor or message that the targets accept."""
RSS_LIMIT_MB = 768
"""Far below what a bomb of a few kB would take, well above the interpreter with its instrumented modules."""
REGISTRY = make_registry()
CODECS = tuple(REGISTRY)
SHAPES = ((), (7,), (3, 9), (1, 3, 5, 7), (1, 2, 4, 4), (2, 16, 6, 6), (0, 4), (1, 33, 1, 16))
DTYPES = ("float32", "float16", "float64", "int8", "bool")
MESSAGES = tuple(kind for kind in message_classes() if kind.TOPIC is not None)
CODER = Coder(REGISTRY, EngineSettings())
GRAPH_SHAPE = (1, 4, 32, 32)
"""Large enough for the executor to decode in a graph."""
MAX_PIXELS = 1 << 20


def model(kind: str, *inputs: TensorDescription) -> Manifest:
    """Return the manifest of a model with small inputs."""
    return Manifest(
        model="0" * 64,
        name="m",
        size_bytes=1,
        inputs=inputs,
        outputs=(),
        blocks=(ManifestBlock(name="prepare", output_bytes=1),),
        preprocessing=Preprocessing(kind="image", height=4, width=6) if kind == "image" else Preprocessing(),
    )


MODELS = (
    model("image", TensorDescription(name="x", shape=(1, 3, 4, 6), dtype="float32")),
    model("tensor", TensorDescription(name="x", shape=(1, 7), dtype="float32")),
    model(
        "tensor",
        TensorDescription(name="a", shape=(2,), dtype="int64"),
        TensorDescription(name="b", shape=(3,), dtype="float16"),
    ),
)


def fuzz_codec(data: bytes) -> None:
    """Decode a payload whose header fits it more or less."""
    if len(data) < 3:
        return
    name, shape = CODECS[data[0] % len(CODECS)], SHAPES[data[1] % len(SHAPES)]
    check_tensor(name, DTYPES[data[2] % len(DTYPES)], shape, data[3:])


def fuzz_body(data: bytes) -> None:
    """Decode a body behind the right preamble; with zstd, the body is what the frame holds."""
    if len(data) < 2:
        return
    name, shape = CODECS[data[0] % len(CODECS)], SHAPES[data[1] % len(SHAPES)]
    body = framed(data[2:]) if name.endswith("+zstd") and data[0] & 0x80 else data[2:]
    spec = TensorSpec(np.dtype(np.float32), shape)
    check_tensor(name, "float32", shape, b"".join(seal(REGISTRY[name], spec, [body]).pieces))


def fuzz_description(data: bytes) -> None:
    """Decode what a frame's header describes in numbers of its own."""
    provider = atheris.FuzzedDataProvider(data)
    name = provider.PickValueInList(list(CODECS))
    dtype = provider.ConsumeUnicodeNoSurrogates(8) if provider.ConsumeBool() else "float32"
    shape = tuple(provider.ConsumeIntListInRange(provider.ConsumeIntInRange(0, 6), -2, 1 << 40))
    check_tensor(name, dtype, shape, provider.ConsumeBytes(provider.remaining_bytes()))


def fuzz_frame(data: bytes) -> None:
    """Take a frame apart; its tensors lie within it."""
    try:
        header, tensors = decode_frame(data)
    except DecodeError:
        return
    assert all(isinstance(key, str) for key in header)
    assert sum(len(tensor) for tensor in tensors) <= len(data)


def fuzz_chunks(data: bytes) -> None:
    """Feed a reassembler; it holds no more than it may."""
    reassembler = Reassembler(max_bytes=LIMIT_BYTES, max_transfers=4, timeout_s=5.0)
    now_s = 0.0
    while len(data) > 1:
        now_s += data[0] & 3
        piece, data = data[2 : 2 + data[1]], data[2 + data[1] :]
        try:
            decode_chunk(piece)
            reassembler.accept(piece, now_s)
        except DecodeError:
            continue
        assert reassembler.held_bytes <= LIMIT_BYTES
        reassembler.expire(now_s)


def fuzz_direct(data: bytes) -> None:
    """Feed a direct connection in pieces; it holds no more than its budget, and gives all of it back."""
    if not data:
        return
    budget = MemoryBudget(LIMIT_BYTES)
    side = Side.ACCEPTING if data[0] & 1 else Side.CONNECTING
    decoder = DirectDecoder(side, budget, max_frame_bytes=LIMIT_BYTES)
    step, data, taken = 1 + (data[0] >> 1), data[1:], 0
    try:
        while data and (buffers := decoder.buffers()):
            piece, data = data[: min(step, len(buffers[0]))], data[min(step, len(buffers[0])) :]
            buffers[0][: len(piece)] = piece
            events = decoder.received(len(piece), 0.0)
            if events and isinstance(events[-1], Greeted):
                with contextlib.suppress(DecodeError):
                    decode_hello(events[-1].body)
                events += decoder.admit(0.0)
            taken += sum(len(event.buffer) for event in events if isinstance(event, FrameArrived))
            assert budget.used_bytes - taken <= 2 * LIMIT_BYTES
    except DecodeError:
        return
    decoder.close()
    assert budget.used_bytes == taken


def fuzz_lane(data: bytes) -> None:
    """Feed the receiving end of the lane, one message after the other; headers of requests are made or refused."""
    tables, inputs = ReceivedTables("server"), InputAssembler(timeout_s=5.0)
    now_s = 0.0
    while len(data) > 2:
        now_s += data[0] & 3
        length = int.from_bytes(data[1:3], "big")
        piece, data = memoryview(data[3 : 3 + length]), data[3 + length :]
        try:
            message = decode_lane_message(piece)
            if isinstance(message, TableMessage):
                tables.learn("pi", message)
                continue
            table = tables.find("pi", message.table)
            key = InputKey.of(table.header.stream, table.header.stage, message.facts)
            complete = inputs.take(key, table.layout, message, now_s)
            header = header_of(table.header, message.facts, message.records, now_s)
        except (DecodeError, MessageError):
            continue
        assert header.request_id == key.request_id
        if complete is not None:
            assert sum(array.nbytes for array in complete.tensors.values()) == table.layout.size_bytes
        inputs.expire(now_s)


def fuzz_message(data: bytes) -> None:
    """Decode a control message; what decodes is encoded and decoded again to the same value."""
    if not data:
        return
    kind = MESSAGES[data[0] % len(MESSAGES)]
    try:
        message = kind.decode(data[1:])
    except MessageError:
        return
    assert kind.decode(message.encode()) == message


def fuzz_feature_map(data: bytes) -> None:
    """Read a feature map as an executor does; what it accepts is no larger than what came, decompressed."""
    try:
        feature_map = decode_feature_map(data, REGISTRY)
    except (DecodeError, MessageError):
        return
    assert len(feature_map.tensors) <= len(feature_map.header.tensors)


def fuzz_graph(data: bytes) -> None:
    """Decode a body as an executor does: what numpy has checked, a graph restores."""
    if not data:
        return
    name = CODECS[data[0] % len(CODECS)]
    spec = TensorSpec(np.dtype(np.float32), GRAPH_SHAPE)
    body = framed(data[1:]) if name.endswith("+zstd") and data[0] & 0x80 else data[1:]
    payload = b"".join(seal(REGISTRY[name], spec, [body]).pieces)
    try:
        tensor = CODER.decode(name, "float32", GRAPH_SHAPE, payload, limit_bytes=LIMIT_BYTES)
    except CodecError:
        return
    expected = decode_tensor(name, "float32", GRAPH_SHAPE, payload, REGISTRY)
    assert tensor.tobytes() == expected.tobytes()


def fuzz_request(data: bytes) -> None:
    """Make a model's inputs of an application's bytes: JPEG, PNG, .npy, raw, msgpack."""
    if not data:
        return
    manifest = MODELS[data[0] % len(MODELS)]
    try:
        inputs = prepare(data[1:], manifest, max_pixels=MAX_PIXELS)
    except BadInput:
        return
    for spec in manifest.inputs:
        assert (inputs[spec.name].shape, inputs[spec.name].dtype) == (spec.shape, np.dtype(spec.dtype))


def fuzz_properties(data: bytes) -> None:
    """Read what travels beside a request; its id can be a topic's level and a file's name."""
    provider = atheris.FuzzedDataProvider(data)
    text = [provider.ConsumeUnicodeNoSurrogates(provider.ConsumeIntInRange(0, 200)) for _ in range(3)]
    user = {REQUEST_ID_PROPERTY: text[0], ACCEPT_PROPERTY: text[1]}
    correlation = provider.ConsumeBytes(provider.remaining_bytes())
    request = request_from_message(
        b"", Properties(correlation_data=correlation, response_topic=text[2], user=user), 0.0
    )
    assert 0 < len(request.request_id) <= 128
    assert not set(request.request_id) & set("/+#")


TARGETS: tuple[Callable[[bytes], None], ...] = (
    fuzz_codec,
    fuzz_body,
    fuzz_description,
    fuzz_frame,
    fuzz_chunks,
    fuzz_message,
    fuzz_feature_map,
    fuzz_graph,
    fuzz_request,
    fuzz_properties,
    fuzz_direct,
    fuzz_lane,
)


def check_tensor(name: str, dtype: str, shape: tuple[int, ...], payload: bytes) -> None:
    """Decode a payload, and see that the tensor is what its header says."""
    try:
        tensor = decode_tensor(name, dtype, shape, payload, REGISTRY, limit_bytes=LIMIT_BYTES)
    except CodecError:
        return
    assert tensor.dtype.name == dtype
    assert tensor.shape == shape
    if not name.startswith("raw"):
        assert np.isfinite(tensor).all()


def framed(data: bytes) -> bytes:
    """Put data into a zstd frame, so that the fuzzer reaches what lies behind it."""
    import zstandard

    return zstandard.ZstdCompressor(level=1).compress(data)


def fuzz_one(data: bytes) -> None:
    """Run the target that the first byte chooses."""
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


def seeds() -> Iterator[bytes]:
    """Make valid inputs of every target, from which the fuzzer starts."""
    rng = np.random.default_rng(0)
    for code, name in enumerate(CODECS):
        for which, shape in enumerate(SHAPES):
            tensor = np.maximum(rng.normal(size=shape), 0).astype(np.float32)
            payload = bytes(encode_tensor(tensor, REGISTRY[name]).payload())
            yield bytes([0, code, which, 0]) + payload
            yield bytes([1, code, which]) + payload[16:]
    frame = b"".join(bytes(piece) for piece in encode_frame({"request_id": "r1", "stage": 0}, [b"abc" * 9, b""]))
    yield bytes([3]) + frame
    chunks = [b"".join(pieces) for pieces in split_message(b"t" * 8, [frame], 24, sender="pi")]
    yield bytes([4]) + b"".join(bytes([0, len(chunk)]) + chunk for chunk in chunks)
    yield bytes([4]) + b"".join(bytes([1, len(chunk)]) + chunk for chunk in reversed(chunks))
    golden = GOLDEN / "messages"
    header = FeatureMapHeader.decode((golden / "FeatureMapHeader.json").read_bytes())
    header = header.model_copy(update={"stages": (PlanStage(start=0, stop=2, device="pi"),), "stage": 0})
    tensor = np.maximum(rng.normal(size=(1, 2, 4, 4)), 0).astype(np.float32)
    for codec in REGISTRY.values():
        pieces = encode_feature_map(header, {"x": encode_tensor(tensor, codec)})
        yield bytes([6]) + b"".join(bytes(piece) for piece in pieces)
    graph_tensor = np.maximum(rng.normal(size=GRAPH_SHAPE), 0).astype(np.float32)
    for code, codec in enumerate(REGISTRY.values()):
        yield bytes([7, code]) + b"".join(bytes(piece) for piece in codec.encode(graph_tensor))
    yield from (bytes([8, which]) + request for which, request in requests())
    hello = message(MessageKind.HELLO, encode_greeting(Hello(device="pi", boot_id="b", receiver="server", token="t")))
    large = b"".join(b"".join(pieces) for pieces in frame_messages([bytes(300_000)]))
    yield bytes([10, 255]) + hello + b"".join(frame_messages([frame])[0])
    yield bytes([10, 15]) + hello + large[:6000] + message(MessageKind.CANCEL)
    yield bytes([11]) + b"".join(bytes([1]) + len(each).to_bytes(2, "big") + each for each in lane_messages(header))
    yield bytes([9]) + b"some text, and bytes" * 9
    for index, kind in enumerate(MESSAGES):
        yield bytes([5, index]) + bytes.fromhex((golden / f"{kind.__name__}.hex").read_text())
        yield bytes([5, index]) + (golden / f"{kind.__name__}.json").read_bytes()


def lane_messages(header: FeatureMapHeader) -> Iterator[bytes]:
    """Make a table, and an input in two messages."""
    stages = tuple(PlanStage(start=k, stop=k + 1, device=("pi", "server")[k % 2]) for k in range(3))
    tensor = np.ones((1, 2, 4, 4), np.float32)
    known = header.model_copy(update={"stages": stages, "stage": 1, "trace": ()})
    table = SentTables("pi", 0).table(known, tensors_of({"x": tensor}))
    yield table.message
    found = facts_of(known)
    assert found is not None
    for top in (0, 2):
        pieces = [(Piece(0, top, top + 2), memoryview(tensor[:, :, :2].tobytes()))]
        yield b"".join(bytes(each) for each in encode_rows(table.number, found[0], 1.0, found[1], pieces))


def requests() -> Iterator[tuple[int, bytes]]:
    """Make requests of `MODELS`, each with its model's index."""
    pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    for form in ("JPEG", "PNG"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, form)
        yield 0, buffer.getvalue()
    for which, manifest in enumerate(MODELS):
        arrays = {spec.name: np.ones(spec.shape, spec.dtype) for spec in manifest.inputs}
        maps = {n: {"dtype": a.dtype.name, "shape": a.shape, "data": a.tobytes()} for n, a in arrays.items()}
        yield which, msgpack.packb(maps)
        yield which, next(iter(arrays.values())).tobytes()
        buffer = io.BytesIO()
        np.save(buffer, next(iter(arrays.values())))
        yield which, buffer.getvalue()


def main() -> None:
    """Fuzz until a finding, or until the time of `-max_total_time=SECONDS` is over."""
    with tempfile.TemporaryDirectory(prefix="segue-fuzz-") as corpus:
        for index, seed in enumerate(seeds()):
            (Path(corpus) / f"seed-{index}").write_bytes(seed)
        options = [f"-rss_limit_mb={RSS_LIMIT_MB}", "-max_len=8192", "-timeout=20", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *options, *sys.argv[1:], corpus], fuzz_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
