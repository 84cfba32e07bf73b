"""The invariants of the planner's state, after any sequence of events."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.planner.coordination.effects import Effect
from services.planner.coordination.invariants import InvariantError, is_sorted, require
from services.planner.coordination.planned_stream import PlannedStream
from services.planner.decisions.switching_ranges import ThresholdJob, find_thresholds
from services.planner.inbound import Inbound, PolicyDocument
from services.planner.problems.planning_jobs import PlanningJob, run_job
from services.planner.problems.snapshot import ModelWithdrawn
from shared.messages.base import MessageError
from shared.messages.calibration import BlockCalibration, Calibration, CodecCalibration, ShadowReport
from shared.messages.control import Prepare, Preparing, ProfileFailed, Ready, Rejected, RejectionCause
from shared.messages.devices import State
from shared.messages.streams import CommittedPlan, StreamUsage
from tests.support.planner_bench import Bench, commands
from tests.support.planner_fleet import MODEL, manifest_of
from tests.support.planner_world import PI_MS, SERVER_MS, SHARED_MS, declaration, link, load, presence, profile, route

SPEEDS_MS = {"pi": PI_MS, "cam": PI_MS, "server": SERVER_MS, "helper": SHARED_MS}
DEVICES, STREAMS = st.sampled_from(sorted(SPEEDS_MS)), st.sampled_from(["one", "two", "three"])
STATES = st.sampled_from([State.ONLINE] * 4 + [State.OFFLINE])
SOURCES = st.sampled_from(["pi", "cam"])
POLICIES = st.sampled_from(
    [
        b"",
        b'{"retry_limit": 5, "revision": "a"}',
        b'{"objective": "total_delay", "cooldown_ms": 0}',
        b'{"objective": "total_delay", "cooldown_ms": 0, "deadline_ms": 60}',
        b'{"strategy": "milp", "cooldown_ms": 0}',
        b'{"strategy": "magic"}',
        b'{"devices": {"deny": ["server"]}}',
        b'{"deadline_ms": 5, "revision": "never"}',
        b'{"raw_input_stays_on_source": true, "cooldown_ms": 0}',
    ]
)
CODEC = CodecCalibration(codec="uint8", size_bytes=100_000, worst_size_bytes=100_000, top1_agreement=1.0)
BLOCK = BlockCalibration(block=1, raw_bytes=400_000, codecs=(CODEC,))


class PlannerMachine(RuleBasedStateMachine):
    """A core, its fleet, one job that is being solved, and devices that answer late, in any order, or never."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.boots = dict.fromkeys(SPEEDS_MS, 1)
        self.asked: list[tuple[str, Prepare]] = []
        self.job: PlanningJob | None = None
        self.threshold_job: ThresholdJob | None = None

    @property
    def now_s(self) -> float:
        return self.bench.now_s

    def hear(self, *messages: Inbound) -> None:
        for message in messages:
            # The service drops what is refused. The invariants hold as after any other message.
            with contextlib.suppress(MessageError):
                self.take(self.bench.core.handle(message, self.now_s))

    def take(self, effects: list[Effect]) -> None:
        self.bench.take(effects)
        self.asked += [(device, each) for device, each in commands(effects) if isinstance(each, Prepare)]

    @initialize()
    def fleet(self) -> None:
        self.hear(manifest_of(), *map(presence, SPEEDS_MS))
        self.hear(*(profile(name, block_ms) for name, block_ms in SPEEDS_MS.items()))
        self.hear(*(link(name, "server", 50.0) for name in SPEEDS_MS if name != "server"))
        self.hear(declaration("one", source="pi"), declaration("two", source="cam"), declaration("three", source="pi"))

    @rule(
        device=DEVICES,
        state=STATES,
        restarts=st.sampled_from([False] * 4 + [True]),
        memory=st.sampled_from([None, 5 * 10**6]),
    )
    def presence(self, device: str, state: State, restarts: bool, memory: int | None) -> None:
        self.boots[device] += restarts
        self.hear(presence(device, state, f"boot{self.boots[device]}", memory_bytes=memory))

    @rule(
        device=DEVICES,
        factor=st.sampled_from([1.0, 1.3, 5.0, 20.0]),
        mbps=st.sampled_from([0.0, 1.0, 20.0, 50.0, 200.0]),
    )
    def measurements(self, device: str, factor: float, mbps: float) -> None:
        self.hear(load(device, factor), link(device, "helper" if device == "server" else "server", mbps))

    @rule(
        stream=STREAMS,
        source=SOURCES,
        model=st.sampled_from(["net"] * 5 + ["gone"]),
        rate_hz=st.sampled_from([None, 30.0]),
    )
    def declared(self, stream: str, source: str, model: str, rate_hz: float | None) -> None:
        self.hear(declaration(stream, source=source, model=model, rate_hz=rate_hz))

    @rule(stream=STREAMS)
    def withdrawn(self, stream: str) -> None:
        self.hear(declaration(stream, model="", source="none"))

    @rule(stream=STREAMS, document=POLICIES)
    def policy(self, stream: str, document: bytes) -> None:
        self.hear(PolicyDocument(stream, document))

    @rule(stream=STREAMS, rate_hz=st.sampled_from([1.0, 100.0]))
    def usage(self, stream: str, rate_hz: float) -> None:
        self.hear(StreamUsage(stream=stream, input_bytes=1000, rate_hz=rate_hz))

    @rule(is_stored=st.booleans())
    def model(self, is_stored: bool) -> None:
        if is_stored:
            self.take(self.bench.core.model_stored(manifest_of(), self.now_s))
        else:
            self.hear(ModelWithdrawn(MODEL), manifest_of())

    @rule(device=DEVICES, measured_at_s=st.sampled_from([1.0, 2.0]), agreement=st.sampled_from([0.0, 1.0]))
    def encodings(self, device: str, measured_at_s: float, agreement: float) -> None:
        self.hear(
            Calibration(model=MODEL, blocks=(BLOCK,), samples=30, measured_at_s=measured_at_s),
            ShadowReport(device=device, model=MODEL, stream="one", block=1, codec="uint8", top1_agreement=agreement),
            ProfileFailed(device=device, model=MODEL, cause=RejectionCause.DISK, reason="full"),
        )

    @rule(stream=STREAMS, epoch=st.integers(1, 9))
    def foreign_plan(self, stream: str, epoch: int) -> None:
        stages = (route((0, 5, "pi")),)
        self.hear(CommittedPlan(stream=stream, epoch=epoch, model=MODEL, source="pi", strategy="auto", routes=stages))

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), kind=st.sampled_from(["ready", "ready", "ready", "preparing", "rejected", "lost"]))
    def report(self, data: st.DataObject, kind: str) -> None:
        device, asked = self.asked.pop(data.draw(st.integers(0, len(self.asked) - 1)))
        stream, epoch = asked.stream, asked.epoch
        if kind == "ready":
            self.hear(Ready(device=device, stream=stream, epoch=epoch))
        elif kind == "preparing":
            self.hear(Preparing(device=device, stream=stream, epoch=epoch))
        elif kind == "rejected":
            cause = data.draw(st.sampled_from(RejectionCause))
            self.hear(Rejected(device=device, stream=stream, epoch=epoch, cause=cause, reason="no"))

    @rule(pause_s=st.sampled_from([0.1, 1.0, 5.0, 31.0, 130.0]))
    def time_passes(self, pause_s: float) -> None:
        self.bench.now_s += pause_s
        self.take(self.bench.core.tick(self.now_s))

    @precondition(lambda self: self.job is None)
    @rule()
    def pose(self) -> None:
        effects, self.job = self.bench.core.next_job(self.now_s)
        self.take(effects)

    @precondition(lambda self: self.job is not None)
    @rule(fails=st.sampled_from([False, False, False, True]))
    def answer(self, fails: bool) -> None:
        job, self.job = self.job, None
        assert job is not None
        if fails:
            self.take(self.bench.core.failed(job, "oh", self.now_s))
        else:
            self.take(self.bench.core.answered(job, run_job(job, self.bench.solve), self.now_s))

    @rule(count=st.integers(1, 3))
    def devices_obey(self, count: int) -> None:
        """Solve what is due and have every device report that it is ready, as in a fleet without trouble."""
        for _ in range(count):
            self.job = None
            self.take(self.bench.plan())
            asked, self.asked = self.asked, []
            self.hear(*(Ready(device=to, stream=each.stream, epoch=each.epoch) for to, each in asked))

    @rule()
    def look_for_thresholds(self) -> None:
        if self.threshold_job is None:
            self.threshold_job = self.bench.core.next_threshold_job(self.now_s)
        else:
            self.take(
                self.bench.core.thresholds_found(self.threshold_job, find_thresholds(self.threshold_job), self.now_s)
            )
            self.threshold_job = None

    @rule()
    def restart(self) -> None:
        self.bench = self.bench.restarted()
        self.job = self.threshold_job = None
        self.asked.clear()
        self.take(self.bench.core.republished())

    @invariant()
    def state_is_sound(self) -> None:
        self.bench.core.validate()


TestPlannerMachine = PlannerMachine.TestCase
TestPlannerMachine.settings = settings(max_examples=40, stateful_step_count=60, deadline=None)


def forget_basis(state: PlannedStream) -> None:
    state._in_force = None


def forget_holders(state: PlannedStream) -> None:
    state._epochs = type(state._epochs)(state.name, state._epochs.last_epoch, state._epochs.committed)


def forget_epoch(state: PlannedStream) -> None:
    state._epochs = type(state._epochs)(state.name, 0, state._epochs.committed, holders=state._epochs.holders)


def forget_declaration(state: PlannedStream) -> None:
    state._is_declared = False


@pytest.mark.parametrize(
    ("damage", "rule_text"),
    [
        (forget_basis, "a committed plan and its basis exist together"),
        (forget_holders, "devices in use are holders"),
        (forget_epoch, "a committed epoch was given out"),
        (forget_declaration, "snapshot and state agree on declaration"),
    ],
)
def test_a_damaged_state_is_found(damage: Callable[[PlannedStream], None], rule_text: str) -> None:
    bench = Bench()
    bench.fleet()
    bench.obey()
    damage(bench.core.streams["camera"])
    with pytest.raises(InvariantError, match=f"stream camera: {rule_text}"):
        bench.core.validate()


def test_due_times_of_unknown_streams_are_found() -> None:
    bench = Bench()
    bench.core.streams.replan("ghost", 1.0)
    with pytest.raises(InvariantError, match="due times: they refer to known streams"):
        bench.core.validate()


def test_missing_requests_for_profiles_are_found() -> None:
    bench = Bench()
    bench.hear(presence("pi"), manifest_of(), declaration())
    assert bench.core.fleet.measurements
    bench.core.fleet._measurements = {}
    with pytest.raises(InvariantError, match="profile requests"):
        bench.core.validate()


def test_an_invariant_names_its_subject() -> None:
    require(True, "sky", "it is blue")
    with pytest.raises(InvariantError, match="sky: it is blue"):
        require("", "sky", "it is blue")


def test_equal_neighbours_are_sorted() -> None:
    assert is_sorted([1, 1, 2])
    assert not is_sorted([2, 1])
