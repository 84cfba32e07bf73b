"""Coverage-guided fuzzing of everything that decodes bytes from the network; `make fuzz` runs it for ten minutes.

The first byte of an input chooses a target. Decoders may return a value or raise their one error; anything else, and
memory beyond the declared bound, is a finding: libFuzzer then writes the input to `crash-*` or `oom-*` and fails.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["shared", "services.executor.frames"]):
    from services.executor import frames
    from shared.asyncapi import CHANNELS
    from shared.bus.chunks import Reassembler, decode_chunk, split
    from shared.bus.errors import DecodeError
    from shared.bus.frame import decode_frame, encode_frame
    from shared.codecs import CodecError, TensorSpec, decode_tensor, encode_tensor, make_registry, seal
    from shared.messages.base import MessageError
    from shared.messages.requests import FeatureMapHeader
    from shared.messages.streams import PlanStage

import numpy as np

LIMIT_BYTES = 1 << 20
"""Largest tensor or message that the targets accept."""
RSS_LIMIT_MB = 768
"""Far below what a bomb of a few kB would take, well above the interpreter with its instrumented modules."""
REGISTRY = make_registry()
CODECS = tuple(REGISTRY)
SHAPES = ((), (7,), (3, 9), (1, 3, 5, 7), (1, 2, 4, 4), (2, 16, 6, 6), (0, 4), (1, 33, 1, 16))
DTYPES = ("float32", "float16", "float64", "int8", "bool")
MESSAGES = tuple(message for channel in CHANNELS for message in channel.messages)


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
        feature_map = frames.decode(data, REGISTRY)
    except (DecodeError, MessageError):
        return
    assert len(feature_map.tensors) <= len(feature_map.header.tensors)


TARGETS: tuple[Callable[[bytes], None], ...] = (
    fuzz_codec,
    fuzz_body,
    fuzz_description,
    fuzz_frame,
    fuzz_chunks,
    fuzz_message,
    fuzz_feature_map,
)


def check_tensor(name: str, dtype: str, shape: tuple[int, ...], payload: bytes) -> None:
    """Decode a payload, and see that the tensor is what its header says."""
    try:
        tensor = decode_tensor(name, dtype, shape, payload, REGISTRY, limit_bytes=LIMIT_BYTES)
    except CodecError:
        return
    assert tensor.dtype.name == dtype
    assert tensor.shape == shape
    if name.startswith(("uint", "sparse")):
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
    chunks = tuple(split(b"t" * 8, [frame], 24, sender="pi"))
    yield bytes([4]) + b"".join(bytes([0, len(chunk)]) + chunk for chunk in chunks)
    yield bytes([4]) + b"".join(bytes([1, len(chunk)]) + chunk for chunk in reversed(chunks))
    golden = Path(__file__).parents[1] / "golden" / "messages"
    header = FeatureMapHeader.decode((golden / "FeatureMapHeader.json").read_bytes())
    header = header.model_copy(update={"stages": (PlanStage(start=0, stop=2, device="pi"),), "stage": 0})
    tensor = np.maximum(rng.normal(size=(1, 2, 4, 4)), 0).astype(np.float32)
    for codec in REGISTRY.values():
        pieces = frames.encode(header, {"x": encode_tensor(tensor, codec)})
        yield bytes([6]) + b"".join(bytes(piece) for piece in pieces)
    for index, message in enumerate(MESSAGES):
        yield bytes([5, index]) + bytes.fromhex((golden / f"{message.__name__}.hex").read_text())
        yield bytes([5, index]) + (golden / f"{message.__name__}.json").read_bytes()


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
