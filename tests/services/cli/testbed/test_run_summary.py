import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from services.cli.testbed.baselines import BaselinePlan, find_baselines
from services.cli.testbed.collector_counts import CollectorCounts
from services.cli.testbed.conditions import Conditions
from services.cli.testbed.fleet_description import LinkDescription
from services.cli.testbed.predictions import PredictionBasis, predict_ms
from services.cli.testbed.run_record import PhaseRecord, RequestRecord, RunRecord
from services.cli.testbed.run_summary import nearest_rank, summarise
from services.cli.testbed.summary_document import summary_document
from services.cli.testbed.summary_tables import print_summary, summary_view
from shared.messages.calibration import BlockCalibration, Calibration, CodecCalibration
from shared.messages.devices import Profile
from shared.messages.events import Reroute, RerouteCause
from shared.messages.models import Manifest, ManifestBlock
from shared.messages.requests import ErrorCause, Outcome, OutcomeStatus, StageTrace
from shared.messages.streams import PlanRoute, PlanStage
from shared.policy import DeviceRule, Policy

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


def route(*stages: tuple[str, int, int]) -> PlanRoute:
    return PlanRoute(stages=tuple(PlanStage(device=d, start=i, stop=j) for d, i, j in stages))


REMOTE, LOCAL = route(("server", 0, 3)), route(("camera", 0, 3))


def reroute(epoch: int, at_s: float, before: PlanRoute | None, after: PlanRoute, cause: RerouteCause) -> Reroute:
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


def request(number: int, at_s: float, latency_ms: float, epoch: int, **changes: object) -> RequestRecord:
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


def record(**changes: object) -> RunRecord:
    fields = {
        "phases": (
            PhaseRecord("steady", "as described", USUAL, 100.0, 110.0),
            PhaseRecord("slow", "link", SLOW, 110.0, 120.0, expect_reroute=True),
        ),
        "requests": (
            *(request(i, 100.5 + i, 33.0, 1) for i in range(9)),
            request(9, 110.2, 200.0, 1),
            *(request(10 + i, 111.0 + i, 101.0, 2) for i in range(8)),
        ),
        "reroutes": (
            reroute(1, 99.0, None, REMOTE, RerouteCause.FIRST_PLAN),
            reroute(2, 110.5, REMOTE, LOCAL, RerouteCause.LINK_CHANGED),
        ),
        "basis": BASIS,
        "collector": CollectorCounts(stored=18),
    }
    return RunRecord(**{**fields, **changes})  # type: ignore[arg-type]


def test_predictions_follow_the_cost_model() -> None:
    assert predict_ms(BASIS, USUAL, [REMOTE]) == pytest.approx(2 + 20 + 11)
    assert predict_ms(BASIS, SLOW, [REMOTE]) == pytest.approx(2 + 200 + 11)
    assert predict_ms(BASIS, USUAL, [route(("camera", 0, 2), ("server", 2, 3))]) == pytest.approx(40 + 2 + 5 + 7)
    assert predict_ms(BASIS, Conditions(USUAL.links, {"server": 3.0}), [REMOTE]) == pytest.approx(22 + 33)
    assert predict_ms(BASIS, DEAD, [REMOTE]) is None
    assert predict_ms(BASIS, Conditions(links={}), [REMOTE]) is None


def test_the_best_single_device_is_chosen_for_each_phase_and_the_fixed_plan_for_all() -> None:
    found = find_baselines(BASIS, [USUAL, SLOW, DEAD])
    assert [(each.route, each.predicted_ms) for each in found.single] == [
        ("server[0,3)", pytest.approx(33)),
        ("camera[0,3)", pytest.approx(100)),
        ("camera[0,3)", pytest.approx(100)),
    ]
    assert {each.route for each in found.fixed} == {"camera[0,3)"}
    assert {each.route for each in find_baselines(BASIS, [USUAL, SLOW]).fixed} == {"camera[0,2) > server[2,3)"}


def test_other_plans_keep_the_policy_and_send_in_the_best_encoding_that_it_allows() -> None:
    stays = replace(BASIS, policy=Policy(raw_input_stays_on_source=True), calibration=CALIBRATION)
    found = find_baselines(stays, [USUAL])
    assert [each.route for each in found.single] == ["camera[0,3)"]
    # prepare, to encode (ten times as slow as the server), latency and transfer, to decode, the rest and its overhead
    assert [(each.route, each.predicted_ms) for each in found.fixed] == [
        ("camera[0,1) uint8+zstd > server[1,3)", pytest.approx(20 + 5 + 2 + 8 + 1 + 9))
    ]
    alone = replace(stays, policy=Policy(raw_input_stays_on_source=True, max_devices=1))
    assert {each.route for each in find_baselines(alone, [USUAL]).fixed} == {"camera[0,3)"}
    raw = replace(stays, policy=Policy(raw_input_stays_on_source=True, codec="raw"))
    assert {each.route for each in find_baselines(raw, [USUAL]).fixed} == {"camera[0,2) > server[2,3)"}
    nowhere = replace(stays, policy=Policy(devices=DeviceRule(allow=("server",)), raw_input_stays_on_source=True))
    assert [each.predicted_ms for each in find_baselines(nowhere, [USUAL]).single] == [None]


def test_encodings_may_change_as_many_answers_as_the_policy_allows() -> None:
    trace = (StageTrace(device="camera", start=0, stop=2, received_at_s=0.0, codec="uint8+zstd"),)
    encoded = [request(i, 101.0 + i / 100, 33.0, 1, trace=trace) for i in range(100)]
    changed = [replace(each, mismatch=True) for each in encoded[:2]]
    allows = replace(BASIS, policy=Policy(min_top1_agreement=0.98))
    kept = summarise(record(requests=(*encoded[2:], *changed), basis=allows))
    assert (kept.encoded, kept.mismatches, kept.encoded_mismatches, kept.problems[1:]) == (100, 2, 2, ())
    broken = summarise(record(requests=(*encoded[2:], *changed)))
    assert "2 of 100 encoded results differ from the whole model's: more than 1.00%" in broken.problems


def test_a_good_run_has_no_problems() -> None:
    summary = summarise(record())
    assert (summary.requests, summary.results, summary.errors, summary.lost) == (18, 18, 0, 0)
    assert summary.problems == ()
    assert [phase.route for phase in summary.phases] == ["server[0,3)", "camera[0,3)"]
    assert [phase.requests for phase in summary.phases] == [9, 9]
    assert summary.phases[0].latency.p50 == pytest.approx(33)
    assert summary.phases[1].latency.p95 == pytest.approx(200)
    assert summary.phases[1].settled.p95 == pytest.approx(101)
    assert summary.phases[1].predicted_ms == pytest.approx(100)
    first = summary.phases[1].first
    assert first is not None
    assert (first.route, first.predicted_ms) == ("server[0,3)", pytest.approx(213))


def test_a_stage_is_not_broken_in_a_terminal_of_80_columns() -> None:
    summary = summarise(record())
    split, wide = "camera[0,14) uint8+zstd > server[14,24)", BaselinePlan("camera[0,14) > server[14,24)", 183.0)
    phases = [replace(each, route=split, single=wide, fixed=wide, first=wide) for each in summary.phases]
    written = io.StringIO()
    print_summary(Console(width=80, file=written), replace(summary, phases=tuple(phases), reroutes=()))
    words = written.getvalue().split()
    assert "camera[0,14) uint8+zstd " in written.getvalue()
    assert (words.count("server[14,24)"), words.count("server")) == (len(phases), 3 * len(phases))


def test_a_reroute_is_told_with_what_was_predicted_and_measured() -> None:
    (told,) = summarise(record()).reroutes
    assert (told.phase, told.previous, told.chosen) == ("slow", "server[0,3)", "camera[0,3)")
    assert told.predicted_ms == (213.0, 100.0)
    assert told.measured_ms == (pytest.approx(200), pytest.approx(101))
    assert told.reaction_ms == pytest.approx(1000 * (111.001 - 110.4), abs=0.01)


def test_the_first_plan_is_no_reroute() -> None:
    summary = summarise(record(reroutes=(reroute(1, 99.0, None, REMOTE, RerouteCause.FIRST_PLAN),)))
    assert summary.reroutes == ()
    assert summary.problems == ("no route changed in phase slow (link)",)


def test_what_is_lost_differs_or_comes_twice_is_a_problem() -> None:
    lost = RequestRecord("lost", 101.0, 161.0, None)
    good = request(1, 102.0, 30.0, 1)
    wrong = RequestRecord("wrong", 102.0, 102.1, good.outcome, mismatch=True)
    failed = request(3, 103.0, 30.0, 1, status=OutcomeStatus.ERROR, cause=ErrorCause.EXECUTION)
    summary = summarise(
        record(
            requests=(good, lost, wrong, failed),
            collector=CollectorCounts(stored=2, missing=1, computed_twice=1, contradicted=1),
            notes=("a process died",),
        )
    )
    assert (summary.lost, summary.errors, summary.mismatches, summary.duplicates) == (1, 1, 1, 2)
    assert summary.problems == (
        "a process died",
        "1 of 4 requests have no outcome",
        "1 results differ from the whole model's",
        "the collector lacks 1 of 3 outcomes",
        "1 requests had a result and an error",
    )


def test_the_document_has_the_keys_of_the_design_and_is_json() -> None:
    document = json.loads(json.dumps(summary_document(summarise(record())), allow_nan=False))
    assert {"requests", "results", "errors", "lost", "duplicates", "mismatches"} <= document.keys()
    assert document["latency_ms"].keys() == {"p50", "p95"}
    assert {"name", "condition", "latency_ms", "route"} <= document["phases"][0].keys()
    assert {"reason", "from", "to", "predicted_ms", "measured_ms", "reaction_ms"} <= document["reroutes"][0].keys()


def test_a_run_that_never_began_can_be_told() -> None:
    summary = summarise(RunRecord(phases=(), requests=()))
    assert summary.problems == ("no request was submitted", "the collector was not asked")
    assert summary_document(summary)["latency_ms"] == {"p50": None, "p95": None}
    assert summary_view(summary) is not None


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 1.0), (0.5, 3.0), (0.95, 4.0), (1.0, 4.0)])
def test_percentile_takes_the_nearest_rank(fraction: float, expected: float) -> None:
    assert nearest_rank([4.0, 2.0, 1.0, 3.0], fraction) == expected


def test_there_is_no_percentile_of_nothing() -> None:
    assert nearest_rank([], 0.5) is None
