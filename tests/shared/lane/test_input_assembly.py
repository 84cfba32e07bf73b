"""Inputs in pieces: any order, overlaps, duplicates, several senders and tensors, and what is given up."""

import itertools
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.bus.errors import DecodeError
from shared.lane.input_assembly import GivenUp, InputAssembler, InputKey, InputLayout, row_axis
from shared.lane.stage_records import StageRecord, unpack_records
from shared.messages.requests import TensorHeader
from tests.support.short_stages import rows_message, same

KEY = InputKey("s", "r1", 1, 100.0, 1)
FEATURES = np.arange(2 * 3 * 6 * 5, dtype=np.float32).reshape(2, 3, 6, 5)
VECTOR = np.arange(4, dtype=np.int64)
BOTH: dict[str, np.ndarray] = {"features": FEATURES, "vector": VECTOR}


def layout_of(**tensors: np.ndarray) -> InputLayout:
    return InputLayout.read(
        [
            TensorHeader(name=name, dtype=array.dtype.name, shape=array.shape, size_bytes=array.nbytes)
            for name, array in tensors.items()
        ]
    )


def rows(top: int, bottom: int) -> np.ndarray:
    return FEATURES[:, :, top:bottom]


def test_a_whole_input_stays_where_it_arrived() -> None:
    message = rows_message((0, 0, FEATURES), (1, 0, VECTOR))
    complete = InputAssembler().take(KEY, layout_of(**BOTH), message, 1.0)
    assert complete is not None
    assert same(complete.tensors, BOTH)
    assert complete.first_at_s == 1.0
    for array in complete.tensors.values():
        assert np.shares_memory(array, np.frombuffer(message.payload, np.uint8))


def test_rows_of_several_senders_come_to_their_places() -> None:
    inputs, layout = InputAssembler(), layout_of(**BOTH)
    record = [StageRecord(0, float(device), 0.0, 1.0).pack() for device in range(3)]
    parts = [
        rows_message((0, 4, rows(4, 6)), records=record[0]),
        rows_message((1, 0, VECTOR), records=record[0] + record[1]),
        rows_message((0, 0, rows(0, 2)), (0, 2, rows(2, 4)), records=record[2]),
    ]
    assert inputs.new_bytes(KEY, layout) == FEATURES.nbytes + VECTOR.nbytes
    assert inputs.take(KEY, layout, parts[0], 1.0) is None
    assert inputs.new_bytes(KEY, layout) == 0
    assert inputs.take(KEY, layout, parts[1], 2.0) is None
    complete = inputs.take(KEY, layout, parts[2], 3.0)
    assert complete is not None
    assert same(complete.tensors, BOTH)
    assert complete.first_at_s == 1.0
    assert [each.received_at_s for each in unpack_records(complete.records)] == [0.0, 1.0, 2.0], "each record once"
    assert len(inputs) == 0


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), max_size=12), st.randoms(use_true_random=False))
def test_rows_in_any_order_with_overlaps_complete_exactly_when_all_are_there(
    intervals: list[tuple[int, int]], chance: random.Random
) -> None:
    inputs, layout = InputAssembler(), layout_of(features=FEATURES)
    whole = [(start, min(6, start + length)) for start, length in intervals]
    chance.shuffle(whole)
    there: set[int] = set()
    for top, bottom in [*whole, (0, 6)]:
        complete = inputs.take(KEY, layout, rows_message((0, top, rows(top, bottom))), 1.0)
        was_complete = len(there) == 6
        there |= set(range(top, bottom))
        if was_complete:
            assert complete is None, "handed over once"
        elif len(there) == 6:
            assert complete is not None
            assert same(complete.tensors, {"features": FEATURES})
        else:
            assert complete is None


def test_what_comes_after_the_end_begins_nothing() -> None:
    inputs, layout = InputAssembler(), layout_of(features=FEATURES)
    message = rows_message((0, 0, FEATURES))
    assert inputs.take(KEY, layout, message, 1.0) is not None
    assert inputs.new_bytes(KEY, layout) == 0
    assert inputs.take(KEY, layout, message, 1.0) is None
    assert len(inputs) == 0
    # A retry is another input, and so is the first attempt of a request whose id comes again.
    for another in (KEY._replace(attempt=2), KEY._replace(dispatched_at_s=200.0)):
        assert inputs.new_bytes(another, layout) == FEATURES.nbytes


def test_inputs_without_progress_expire_and_duplicates_are_no_progress() -> None:
    inputs, layout = InputAssembler(timeout_s=10.0), layout_of(features=FEATURES)
    other = KEY._replace(request_id="r2")
    part = rows_message((0, 0, rows(0, 3)))
    inputs.take(KEY, layout, part, 0.0)
    inputs.take(other, layout, part, 0.0)
    inputs.take(other, layout, rows_message((0, 3, rows(3, 4))), 5.0)
    inputs.take(KEY, layout, part, 9.0)
    assert inputs.expire(9.9) == []
    assert inputs.expire(10.0) == [GivenUp(KEY, FEATURES.nbytes)]
    # Late rows of it would never be complete.
    assert inputs.take(KEY, layout, rows_message((0, 3, rows(3, 6))), 11.0) is None
    assert inputs.expire(15.0) == [GivenUp(other, FEATURES.nbytes)]
    assert len(inputs) == 0


def test_inputs_are_given_up_with_their_request_or_for_a_newer_attempt() -> None:
    inputs, layout = InputAssembler(), layout_of(features=FEATURES)
    keys = [InputKey(*each) for each in itertools.product(("s",), ("r1", "r2"), (1, 2), (100.0,), (1, 3))]
    for key in keys:
        inputs.take(key, layout, rows_message((0, 0, rows(0, 3))), 0.0)
    older = [each.key for each in inputs.give_up("s", "r1", before_attempt=2)]
    assert older == [key for key in keys if key.request_id == "r1" and key.attempt == 1]
    assert {each.key for each in inputs.give_up("s", "r2")} == {key for key in keys if key.request_id == "r2"}
    assert inputs.give_up("t", "r1") == []
    assert len(inputs) == 2


@pytest.mark.parametrize(
    "parts",
    [
        [(2, 0, VECTOR)],
        [(1, 2, VECTOR)],
        [(0, 5, FEATURES[:, :, :2])],
        [(0, 0, FEATURES), (1, 0, VECTOR.astype(np.int32))],
        [(0, 0, FEATURES.astype(np.float64))],
        [(0, 0, FEATURES[:, :2])],
    ],
)
def test_pieces_that_do_not_fit_their_tensors_change_nothing(parts: Any) -> None:
    inputs, layout = InputAssembler(), layout_of(**BOTH)
    with pytest.raises(DecodeError):
        inputs.take(KEY, layout, rows_message(*parts), 0.0)
    assert len(inputs) == 0
    assert inputs.new_bytes(KEY, layout) == layout.size_bytes


def test_senders_that_disagree_about_an_input_are_refused() -> None:
    inputs = InputAssembler()
    inputs.take(KEY, layout_of(features=FEATURES), rows_message((0, 0, rows(0, 3))), 0.0)
    with pytest.raises(DecodeError, match="disagree"):
        inputs.take(KEY, layout_of(other=FEATURES), rows_message((0, 3, rows(3, 6))), 0.0)
    assert len(inputs) == 1


def test_tensors_without_rows_need_no_piece_and_without_dimensions_have_one() -> None:
    scalar = np.array(3.0, np.float32)
    tensors: dict[str, np.ndarray] = {"features": FEATURES, "empty": np.empty((0, 4), np.float32), "scalar": scalar}
    message = rows_message((0, 0, FEATURES), (2, 0, scalar))
    complete = InputAssembler().take(KEY, layout_of(**tensors), message, 0.0)
    assert complete is not None
    assert same(complete.tensors, tensors)


@pytest.mark.parametrize(
    "tensors",
    [
        [],
        [TensorHeader(name="x", dtype="float32", shape=(0,), size_bytes=0)],
        [TensorHeader(name="x", dtype="object", shape=(1,), size_bytes=0)],
        [TensorHeader(name="x", dtype="float32", shape=(2**40,), size_bytes=0)],
        [TensorHeader(name="x", dtype="float32", shape=(2**27,), size_bytes=0)],
        [TensorHeader(name="x", dtype="float32", shape=(2**25,), size_bytes=0)] * 3,
        [TensorHeader(name="x", dtype="float32", shape=(1,), size_bytes=0)] * 2,
        [TensorHeader(name="x", dtype="float32", shape=(1,) * 60, size_bytes=0)],
        [TensorHeader(name="x", dtype="float32", shape=(4,), codec="fp16", size_bytes=0)],
    ],
)
def test_a_hostile_table_has_no_layout(tensors: list[TensorHeader]) -> None:
    with pytest.raises(DecodeError):
        InputLayout.read(tensors)


def test_rows_are_along_the_height_of_a_feature_map() -> None:
    assert [row_axis((1,) * rank) for rank in range(1, 6)] == [0, 0, 1, 2, 3]
