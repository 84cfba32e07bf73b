"""Frames of large outcomes, and their reassembly from chunks that come late, twice, or never."""

import random
from typing import Any

import numpy as np
import pytest

from shared.bus.chunks import split_message
from shared.bus.errors import DecodeError
from shared.bus.frame import Buffer, encode_frame
from shared.large_outcomes import (
    OutcomeAssembler,
    decode_large_outcome,
    encode_large_outcome,
    transfer_id_of,
)
from shared.messages.base import MessageError
from shared.messages.requests import ClassScore, Outcome, OutcomeStatus, TensorHeader
from tests.support.documentation import python_blocks
from tests.support.shared_paths import REPOSITORY

MASK = np.arange(6000, dtype=np.float32).reshape(2, 3000)
OUTCOME = Outcome(
    request_id="r",
    stream="s",
    status=OutcomeStatus.OK,
    attempt=2,
    top=(ClassScore(index=1, label="cat", score=0.5),),
    completed_at_s=12.5,
)
TENSORS = (
    (TensorHeader(name="mask", dtype="float32", shape=MASK.shape, size_bytes=MASK.nbytes), MASK.data),
    (TensorHeader(name="count", dtype="int64", shape=(), size_bytes=8), bytes(8)),
)


def frame() -> bytes:
    return b"".join(bytes(piece) for piece in encode_large_outcome(OUTCOME, TENSORS))


def chunks(chunk_bytes: int = 1000) -> list[bytes]:
    parts: list[list[Buffer]] = list(split_message(transfer_id_of(OUTCOME), [frame()], chunk_bytes))
    return [b"".join(map(bytes, part)) for part in parts]


def test_an_outcome_comes_back_with_its_outputs() -> None:
    whole = decode_large_outcome(frame()).whole()
    assert [(output.name, output.dtype, output.shape) for output in whole.outputs] == [
        ("mask", "float32", (2, 3000)),
        ("count", "int64", ()),
    ]
    assert whole.outputs[0].data == MASK.tobytes()
    assert whole.model_copy(update={"outputs": ()}) == OUTCOME


def test_chunks_in_any_order_and_twice_give_one_outcome() -> None:
    parts = chunks() * 2
    random.Random(4).shuffle(parts)
    assembler = OutcomeAssembler()
    found = [assembled for part in parts if (assembled := assembler.add(part, "s", "r", 0.0)) is not None]
    # The transfer and, perhaps, its repetition: who awaits the outcome no more adds no chunks.
    assert {bytes(assembled.frame) for assembled in found} == {frame()}
    assert len(found) <= 2


def test_the_example_of_the_documentation_collects_an_outcome() -> None:
    names: dict[str, Any] = {}
    (example,) = python_blocks(REPOSITORY / "docs" / "wire.md")
    exec(example, names)
    transfers: dict[bytes, bytearray] = {}
    missing: dict[bytes, int] = {}
    parts = chunks()
    random.Random(5).shuffle(parts)
    *earlier, (header, mask, count) = [names["add_chunk"](part, transfers, missing) for part in parts]
    assert set(earlier) == {None}
    assert (header["request_id"], mask, count) == ("r", MASK.tobytes(), bytes(8))


def test_a_repeated_transfer_fills_the_holes_of_the_first() -> None:
    assembler, parts = OutcomeAssembler(), chunks()
    assert all(assembler.add(part, "s", "r", 0.0) is None for part in parts[::2])
    assert any(assembler.add(part, "s", "r", 1.0) is not None for part in parts)


def test_an_outcome_that_is_asked_for_again_comes_again() -> None:
    assembler = OutcomeAssembler()
    for _ in range(2):
        assert [assembler.add(part, "s", "r", 0.0) is not None for part in chunks()][-1]


def test_a_transfer_that_was_given_up_begins_again_under_its_id() -> None:
    assembler, parts = OutcomeAssembler(), chunks()
    assert assembler.add(parts[0], "s", "r", 0.0) is None
    assembler.expire(31.0)
    found = [assembler.add(part, "s", "r", 31.0) for part in parts]
    assert found[-1] is not None


def test_every_computation_of_a_request_has_a_transfer_of_its_own() -> None:
    others: list[dict[str, Any]] = [{"attempt": 3}, {"completed_at_s": 12.6}, {"stream": "t"}, {"request_id": "q"}]
    found = {transfer_id_of(OUTCOME.model_copy(update=changes)) for changes in ({}, *others)}
    assert len(found) == 5
    assert transfer_id_of(decode_large_outcome(frame()).without_outputs()) == transfer_id_of(OUTCOME)


@pytest.mark.parametrize(("stream", "request_id"), [("t", "r"), ("s", "q")])
def test_the_outputs_of_another_request_are_refused(stream: str, request_id: str) -> None:
    (part,) = chunks(100_000)
    with pytest.raises(MessageError, match="another request"):
        OutcomeAssembler().add(part, stream, request_id, 0.0)


def test_a_result_beyond_the_bound_is_refused_before_memory_is_reserved() -> None:
    with pytest.raises(DecodeError, match="at most 20000 are accepted"):
        OutcomeAssembler(20_000).add(chunks()[0], "s", "r", 0.0)


@pytest.mark.parametrize(
    "changed",
    [
        {"tensors": ()},
        {"tensors": [{"name": "mask", "dtype": "float32", "shape": [1], "size_bytes": 5}]},
        {"tensors": [{"name": "mask", "dtype": "float32", "shape": [1], "size_bytes": 4, "codec": "int8"}]},
        {"tensors": [{"name": "mask"}]},
        {"status": "perhaps"},
    ],
)
def test_a_frame_that_contradicts_its_header_is_refused(changed: dict[str, object]) -> None:
    tensor = {"name": "mask", "dtype": "float32", "shape": [1], "size_bytes": 4}
    header = {"request_id": "r", "stream": "s", "status": "ok", "tensors": [tensor]}
    decode_large_outcome(b"".join(map(bytes, encode_frame(header, [b"1234"]))))
    with pytest.raises(MessageError):
        decode_large_outcome(b"".join(map(bytes, encode_frame({**header, **changed}, [b"1234"]))))
