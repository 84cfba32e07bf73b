"""The summary of a run, computed from its record."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from services.cli.testbed.collector_counts import CollectorCounts
from services.cli.testbed.run_record import RequestRecord, RunRecord
from services.cli.testbed.run_summary import nearest_rank, summarise
from services.cli.testbed.summary_document import summary_document
from services.cli.testbed.summary_tables import summary_view
from shared.messages.events import RerouteCause
from shared.messages.requests import ClassScore, ErrorCause, OutcomeStatus, StageTrace
from shared.policy import Policy
from tests.support.run_records import BASIS, REMOTE, request_record, reroute_record, run_record


def test_encodings_may_change_as_many_answers_as_the_policy_allows() -> None:
    trace = (StageTrace(device="camera", start=0, stop=2, received_at_s=0.0, codec="uint8+zstd"),)
    encoded = [request_record(i, 101.0 + i / 100, 33.0, 1, trace=trace) for i in range(100)]
    changed = [replace(each, mismatch=True) for each in encoded[:2]]
    allows = replace(BASIS, policy=Policy(min_top1_agreement=0.98))
    kept = summarise(run_record(requests=(*encoded[2:], *changed), basis=allows))
    assert (kept.encoded, kept.mismatches, kept.encoded_mismatches, kept.problems[1:]) == (100, 2, 2, ())
    broken = summarise(run_record(requests=(*encoded[2:], *changed)))
    assert "2 of 100 encoded results differ from the whole model's: more than 1.00%" in broken.problems


def test_a_good_run_has_no_problems() -> None:
    summary = summarise(run_record())
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
    assert first.route == "server[0,3)"
    assert first.predicted_ms == pytest.approx(213)


def test_a_reroute_is_told_with_what_was_predicted_and_measured() -> None:
    (told,) = summarise(run_record()).reroutes
    assert (told.phase, told.previous, told.chosen) == ("slow", "server[0,3)", "camera[0,3)")
    assert told.predicted_ms == (213.0, 100.0)
    assert told.measured_ms == pytest.approx((200, 101))
    assert told.reaction_ms == pytest.approx(1000 * (111.001 - 110.4), abs=0.01)


def test_the_first_plan_is_no_reroute() -> None:
    summary = summarise(run_record(reroutes=(reroute_record(1, 99.0, None, REMOTE, RerouteCause.FIRST_PLAN),)))
    assert summary.reroutes == ()
    assert summary.problems == ("no route changed in phase slow (link)",)


def test_what_is_lost_differs_or_comes_twice_is_a_problem() -> None:
    lost = RequestRecord("lost", 101.0, 161.0, None)
    good = request_record(1, 102.0, 30.0, 1)
    wrong = RequestRecord("wrong", 102.0, 102.1, good.outcome, mismatch=True)
    failed = request_record(3, 103.0, 30.0, 1, status=OutcomeStatus.ERROR, cause=ErrorCause.EXECUTION)
    summary = summarise(
        run_record(
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


def test_the_last_prediction_of_every_file_is_shown() -> None:
    cat, dog = (ClassScore(index=index, label=label, score=0.5) for index, label in enumerate(("cat", "dog")))
    requests = [
        replace(request_record(1, 101.0, 50.0, 1, top=(cat,)), file="a.jpg"),
        replace(request_record(2, 102.0, 50.0, 1, top=(dog,)), file="b.jpg"),
        replace(request_record(3, 103.0, 50.0, 1, top=(dog, cat)), file="a.jpg"),
        replace(request_record(4, 104.0, 50.0, 1), file="no-classes.npy"),
        request_record(5, 105.0, 50.0, 1, top=(cat,)),
    ]
    summary = summarise(run_record(requests=tuple(requests)))
    assert [(each.file, each.top) for each in summary.predictions] == [("a.jpg", (dog, cat)), ("b.jpg", (dog,))]
    text = io.StringIO()
    Console(width=80, file=text).print(summary_view(summary))
    assert "a.jpg: dog 0.50, cat 0.50" in text.getvalue()
    assert summary_document(summary)["predictions"][1]["top"][0]["label"] == "dog"


def test_results_without_outputs_are_not_called_wrong() -> None:
    reason = "outputs are left out: the result has 16777216 bytes, the broker accepts at most 8388608"
    large = replace(request_record(1, 101.0, 50.0, 1, error=reason), mismatch=True)
    summary = summarise(run_record(requests=(large,)))
    assert summary.mismatches == 0
    assert f"1 results are not compared with the whole model's: {reason}" in summary.problems
