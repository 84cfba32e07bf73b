"""The record of a run with two phases, and the figures of its fleet."""

from services.cli.testbed.collector_counts import CollectorCounts
from services.cli.testbed.conditions import Conditions
from services.cli.testbed.fleet_description import LinkDescription
from services.cli.testbed.predictions import PredictionBasis
from services.cli.testbed.run_record import PhaseRecord, RequestRecord, RunRecord
from shared.messages.calibration import BlockCalibration, Calibration, CodecCalibration
from shared.messages.devices import Profile
from shared.messages.events import Reroute, RerouteCause
from shared.messages.models import Manifest, ManifestBlock
from shared.messages.requests import Outcome, OutcomeStatus
from shared.messages.streams import PlanRoute, PlanStage

MODEL = "ab" * 32
PAIR = ("camera", "server")
LINK = LinkDescription(between=PAIR, bandwidth_mbps=8.0, latency_ms=2.0)
USUAL = Conditions(links={PAIR: LINK})
SLOW = Conditions(links={PAIR: LinkDescription(between=PAIR, bandwidth_mbps=0.8, latency_ms=2.0)})
DEAD = Conditions(links={PAIR: LINK}, dead=frozenset(["server"]))
BLOCKS = tuple(
    ManifestBlock(name=name, output_bytes=size) for name, size in (("prepare", 600_000), ("a", 5000), ("b", 40))
)
BASIS = PredictionBasis(
    manifest=Manifest(model=MODEL, name="m", size_bytes=1, inputs=(), outputs=(), blocks=BLOCKS),
    profiles={
        "camera": Profile(device="camera", model=MODEL, block_ms=(20.0, 20.0, 60.0)),
        "server": Profile(device="server", model=MODEL, block_ms=(2.0, 2.0, 6.0), segment_overhead_ms=1.0),
    },
    source="camera",
    input_bytes=20_000,
)
CALIBRATION = Calibration(
    model=MODEL,
    blocks=(
        BlockCalibration(
            block=0,
            raw_bytes=600_000,
            codecs=(
                CodecCalibration(codec="raw", size_bytes=600_000, worst_size_bytes=600_000, top1_agreement=1.0),
                CodecCalibration(
                    codec="uint8+zstd",
                    size_bytes=8000,
                    worst_size_bytes=9000,
                    encode_ms=0.5,
                    decode_ms=1.0,
                    top1_agreement=1.0,
                ),
                CodecCalibration(codec="uint4", size_bytes=100, worst_size_bytes=100, top1_agreement=0.5),
            ),
        ),
    ),
    samples=100,
)


def plan_route(*stages: tuple[str, int, int]) -> PlanRoute:
    """Return a route of (device, start, stop)."""
    return PlanRoute(stages=tuple(PlanStage(device=d, start=i, stop=j) for d, i, j in stages))


REMOTE, LOCAL = plan_route(("server", 0, 3)), plan_route(("camera", 0, 3))


def reroute_record(epoch: int, at_s: float, before: PlanRoute | None, after: PlanRoute, cause: RerouteCause) -> Reroute:
    """Return a reroute that was triggered 100 ms before its commit."""
    return Reroute(
        stream="s",
        epoch=epoch,
        cause=cause,
        reason="because",
        previous=() if before is None else (before,),
        chosen=(after,),
        objective="latency",
        predicted_before=None if before is None else 213.0,
        predicted_after=100.0,
        trigger_at_s=at_s - 0.1,
        committed_at_s=at_s,
    )


def request_record(number: int, at_s: float, latency_ms: float, epoch: int, **changes: object) -> RequestRecord:
    """Return a request with a result; `changes` are of its outcome."""
    outcome = Outcome(
        request_id=f"r{number}",
        stream="s",
        status=OutcomeStatus.OK,
        epoch=epoch,
        accepted_at_s=at_s,
        dispatched_at_s=at_s + 0.001,
        completed_at_s=at_s + latency_ms / 1000,
    )
    return RequestRecord(f"r{number}", at_s, at_s + latency_ms / 1000, outcome.model_copy(update=changes))


def run_record(**changes: object) -> RunRecord:
    """Return a run that went well; `changes` replace its fields."""
    fields = {
        "phases": (
            PhaseRecord("steady", "as described", USUAL, 100.0, 110.0),
            PhaseRecord("slow", "link", SLOW, 110.0, 120.0, expect_reroute=True),
        ),
        "requests": (
            *(request_record(i, 100.5 + i, 33.0, 1) for i in range(9)),
            request_record(9, 110.2, 200.0, 1),
            *(request_record(10 + i, 111.0 + i, 101.0, 2) for i in range(8)),
        ),
        "reroutes": (
            reroute_record(1, 99.0, None, REMOTE, RerouteCause.FIRST_PLAN),
            reroute_record(2, 110.5, REMOTE, LOCAL, RerouteCause.LINK_CHANGED),
        ),
        "basis": BASIS,
        "collector": CollectorCounts(stored=18),
    }
    return RunRecord(**{**fields, **changes})  # type: ignore[arg-type]
