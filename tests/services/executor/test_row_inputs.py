"""Inputs in parts, without I/O: rows in any order, memory that is short, attempts that are over, hostile places."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.admission import Admission
from services.executor.feature_maps import EncodedPayload, FeatureMap, RowPlace
from services.executor.row_inputs import RowInputs, RowPart
from services.executor.segments.coding import Coder
from services.executor.segments.engine import EngineSettings
from services.executor.sender import AttemptTracker
from shared.bus.errors import DecodeError
from shared.codecs import load_registry
from shared.lane.input_assembly import InputAssembler
from shared.messages.requests import FeatureMapHeader, StageTrace, TensorHeader
from shared.messages.streams import PlanStage, PlanTile

CODER = Coder(load_registry(), EngineSettings())
WHOLE = np.arange(2 * 8 * 3, dtype=np.float32).reshape(1, 2, 8, 3)
SIZE_BYTES = WHOLE.nbytes
TILES = (PlanTile(device="me", rows=(0, 4)), PlanTile(device="peer", rows=(4, 8)))
STAGES = (
    PlanStage(start=0, stop=1, device="peer"),
    PlanStage(start=1, stop=2, device="me", tiles=TILES),
    PlanStage(start=2, stop=3, device="me"),
)


def header(request_id: str = "r", *, accepted_at_s: float = 1.0, **fields: Any) -> FeatureMapHeader:
    described = {
        "transfer_id": "t",
        "sender": "peer",
        "request_id": request_id,
        "stream": "s",
        "model": "0" * 64,
        "epoch": 1,
        "attempt": 1,
        "stages": STAGES,
        "stage": 2,
        "tensors": (),
        "source": "peer",
        "accepted_at_s": accepted_at_s,
        "dispatched_at_s": 2.0,
    }
    return FeatureMapHeader(**{**described, **fields})


def rows(top: int, bottom: int) -> dict[str, RowPart]:
    return {"x": RowPart(WHOLE[:, :, top:bottom].copy(), RowPlace(top, 8))}


def encoded(first: int, last: int, codec: str, **changed: Any) -> EncodedPayload:
    tensor = CODER.encode(np.ascontiguousarray(WHOLE[:, :, first:last]), codec)
    described = TensorHeader(
        name="x",
        dtype="float32",
        shape=(1, 2, last - first, 3),
        codec=codec,
        size_bytes=tensor.size_bytes,
        top=first,
        of_rows=8,
    ).model_copy(update=changed)
    return EncodedPayload(described, memoryview(bytes(tensor.payload())), 4 * math.prod(described.shape))


@dataclass
class Bench:
    """Inputs of a device with memory for two; what is complete leaves it at once."""

    admission: Admission = field(default_factory=lambda: Admission(2, 2 * SIZE_BYTES))
    complete: list[FeatureMap] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.inputs = RowInputs(
            InputAssembler(),
            AttemptTracker(),
            self.admission,
            on_input=self._take,
            refuse=lambda refused: self.refused.append(refused.request_id),
        )

    def _take(self, feature_map: FeatureMap, size_bytes: int, received_s: float) -> None:
        self.complete.append(feature_map)
        self.admission.leave(size_bytes)

    @property
    def is_empty(self) -> bool:
        """Whether no memory is held: as much as there is can be taken."""
        has_room = self.admission.enter_now(2 * SIZE_BYTES)
        if has_room:
            self.admission.leave(2 * SIZE_BYTES)
        return has_room and self.admission.enter_now(0) and self.admission.enter_now(0)


@given(cuts=st.sets(st.integers(1, 7)), order=st.randoms(use_true_random=False), repeated=st.integers(0, 3))
def test_rows_in_any_order_and_repeated_become_the_tensor_once(cuts: set[int], order: Any, repeated: int) -> None:
    bench = Bench()
    bounds = [0, *sorted(cuts), 8]
    parts = [(bounds[k], bounds[k + 1]) for k in range(len(bounds) - 1)]
    parts += parts[:repeated]
    order.shuffle(parts)
    for top, bottom in parts:
        bench.inputs.put(header(), rows(top, bottom), 5.0)
    (made,) = bench.complete
    np.testing.assert_array_equal(made.arrays(CODER)["x"], WHOLE)
    assert bench.is_empty


@pytest.mark.parametrize("codecs", [("raw", "raw"), ("raw+zstd", "raw"), ("raw", "float16"), ("float16", "raw+zstd")])
def test_every_part_has_its_own_encoding(codecs: tuple[str, str]) -> None:
    bench = Bench()
    for part in (encoded(0, 3, codecs[0]), encoded(3, 8, codecs[1])):
        bench.inputs.take(FeatureMap(header(), {"x": part}), 5.0)
    (made,) = bench.complete
    assert made.is_encoded == (set(codecs) != {"raw"})
    assert made.size_bytes == SIZE_BYTES
    np.testing.assert_array_equal(made.arrays(CODER)["x"], WHOLE)


def test_a_tensor_without_rows_comes_as_a_whole_beside_the_rows_of_another() -> None:
    bench = Bench()
    scale = {"scale": RowPart(np.asarray([1, 2], np.float32), RowPlace())}
    bench.inputs.put(header(), rows(0, 8) | scale, 5.0)
    np.testing.assert_array_equal(bench.complete[0].arrays(CODER)["scale"], [1, 2])


def test_a_part_may_have_no_rows_of_one_tensor() -> None:
    bench = Bench()
    other = {"y": RowPart(WHOLE.copy(), RowPlace(0, 8))}
    nothing = {"x": RowPart(WHOLE[:, :, :0], RowPlace(0, 8))}
    bench.inputs.put(header(), nothing | other, 5.0)
    bench.inputs.put(header(), rows(0, 8) | {"y": RowPart(WHOLE[:, :, :0], RowPlace(0, 8))}, 5.0)
    assert bench.complete[0].tensors.keys() == {"x", "y"}


def test_traces_of_all_parts_are_united() -> None:
    bench = Bench()
    first = StageTrace(device="peer", start=0, stop=1, received_at_s=1.0)
    own = StageTrace(device="me", start=1, stop=2, rows=(0, 4), received_at_s=2.0)
    other = StageTrace(device="peer", start=1, stop=2, rows=(4, 8), received_at_s=2.5, sent_at_s=3.0)
    bench.inputs.put(header(trace=(first, own)), rows(0, 4), 5.0)
    sent = first.model_copy(update={"sent_at_s": 1.5})
    bench.inputs.put(header(trace=(sent, other)), rows(4, 8), 5.5)
    assert set(bench.complete[0].header.trace) == {sent, own, other}


def test_a_younger_request_gives_way_to_an_older_one() -> None:
    bench = Bench()
    bench.inputs.put(header("young", accepted_at_s=9), rows(0, 4), 5.0)
    bench.inputs.put(header("middle", accepted_at_s=5), rows(0, 4), 5.0)
    bench.inputs.put(header("old", accepted_at_s=1), rows(0, 4), 5.0)
    assert bench.refused == ["young"]
    for name, accepted_at_s in (("old", 1), ("middle", 5)):
        bench.inputs.put(header(name, accepted_at_s=accepted_at_s), rows(4, 8), 6.0)
    assert [made.header.request_id for made in bench.complete] == ["old", "middle"]
    assert bench.is_empty


def test_the_youngest_is_refused_itself_and_late_rows_of_it_do_not_begin_it_again() -> None:
    bench = Bench()
    for name in ("a", "b", "c"):
        bench.inputs.put(header(name), rows(0, 4), 5.0)
    assert bench.refused == ["c"]
    for name in ("a", "b"):
        bench.inputs.put(header(name), rows(4, 8), 5.0)
    assert len(bench.complete) == 2


@given(data=st.data())
def test_two_devices_never_wait_for_each_other(data: st.DataObject) -> None:
    """Requests whose rows reach two devices in any order, each with memory for two; who is refused comes again."""
    benches = (Bench(), Bench())
    attempts = dict.fromkeys(range(6), 1)
    steps = 0
    while attempts and steps < 500:
        steps += 1
        number = data.draw(st.sampled_from(sorted(attempts))) if steps < 200 else min(attempts)
        place = data.draw(st.integers(0, 3)) if steps < 200 else steps % 4
        of_request = header(f"r{number}", accepted_at_s=number + 1, attempt=attempts[number])
        bench = benches[place // 2]
        bench.inputs.put(of_request, rows(*((0, 4), (4, 8))[place % 2]), 5.0)
        for each in benches:
            for request_id in each.refused:
                if int(request_id[1:]) in attempts:
                    attempts[int(request_id[1:])] += 1
            each.refused.clear()
        done = [{(made.header.request_id, made.header.attempt) for made in each.complete} for each in benches]
        attempts = {n: attempt for n, attempt in attempts.items() if any((f"r{n}", attempt) not in own for own in done)}
    assert not attempts


def test_a_newer_attempt_ends_an_older_one_and_rows_of_the_older_one_are_dropped() -> None:
    bench = Bench()
    bench.inputs.put(header(attempt=1), rows(0, 4), 5.0)
    bench.inputs.put(header(attempt=2), rows(0, 4), 5.0)
    bench.inputs.put(header(attempt=1), rows(4, 8), 5.0)
    assert not bench.complete
    bench.inputs.put(header(attempt=2), rows(4, 8), 5.0)
    assert [made.header.attempt for made in bench.complete] == [2]
    assert bench.is_empty


@pytest.mark.parametrize("end", ["expires", "is given up", "closes"])
def test_an_input_that_lacks_rows_holds_no_memory_after_its_end(end: str) -> None:
    bench = Bench()
    bench.inputs.put(header(), rows(0, 4), 5.0)
    match end:
        case "expires":
            bench.inputs.tick(34.9)
            bench.inputs.tick(35.0)
        case "is given up":
            bench.inputs.give_up("s", "r")
        case _:
            bench.inputs.close()
    assert bench.refused == (["r"] if end == "closes" else [])
    bench.inputs.put(header(), rows(4, 8), 36.0)
    assert not bench.complete
    # A device that leaves says so to every source, also to those whose rows come late.
    assert bench.refused == (["r", "r"] if end == "closes" else [])
    assert bench.is_empty


@pytest.mark.parametrize(
    "part",
    [
        encoded(4, 8, "raw", top=5),
        encoded(0, 8, "raw", of_rows=7),
        encoded(0, 8, "raw", shape=(1, 2, 8, 4)),
        encoded(0, 8, "raw", of_rows=1_000_000, shape=(1, 4096, 8, 4096)),
        encoded(0, 8, "raw", dtype="object"),
        encoded(0, 0, "raw", of_rows=0),
    ],
)
def test_rows_that_fit_nowhere_are_refused_and_hold_nothing(part: EncodedPayload) -> None:
    bench = Bench()
    with pytest.raises(DecodeError):
        bench.inputs.take(FeatureMap(header(), {"x": part}), 5.0)
    assert bench.is_empty


def test_senders_that_disagree_about_the_input_are_refused() -> None:
    bench = Bench()
    bench.inputs.put(header(), rows(0, 4), 5.0)
    with pytest.raises(DecodeError):
        bench.inputs.put(header(), {"x": RowPart(WHOLE[:, :, 4:8], RowPlace(4, 9))}, 5.0)
    bench.inputs.put(header(), rows(4, 8), 5.0)
    assert len(bench.complete) == 1
