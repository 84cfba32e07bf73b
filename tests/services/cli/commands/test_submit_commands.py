"""The texts of `segue submit` about a burst and about the times of a request."""

from services.cli.commands.submit_commands import burst_text, time_lines
from shared.client import ClientTimeout
from shared.messages.requests import Outcome, OutcomeStatus, StageTrace


def _outcome(accepted_at_s: float, completed_at_s: float) -> Outcome:
    return Outcome(
        request_id=f"r{accepted_at_s:g}",
        stream="s",
        status=OutcomeStatus.OK,
        accepted_at_s=accepted_at_s,
        completed_at_s=completed_at_s,
    )


def test_a_burst_tells_which_time_it_tells() -> None:
    first, second, none = _outcome(10.0, 10.5), _outcome(10.1, 11.25), ClientTimeout("s", "r", 60.0)
    assert burst_text([second, first]) == "burst of 2: 1250.0 ms from the first to the last"
    assert burst_text([first, none, second]) == (
        "burst of 3: 1250.0 ms from the first to the last of the 2 that have an outcome; 1 request has none"
    )
    assert burst_text([none, first, none]).endswith(
        "500.0 ms from the first to the last of the 1 that have an outcome; 2 requests have none"
    )
    assert burst_text([none]) == "burst of 1: no request has an outcome, so its duration is unknown"


def test_the_times_of_tiles_count_from_the_start() -> None:
    trace = (
        StageTrace(device="a", start=0, stop=1, received_at_s=10.25, compute_ms=250.0, sent_at_s=10.5),
        StageTrace(device="a", start=1, stop=8, rows=(0, 28), received_at_s=10.5, compute_ms=500.0),
        StageTrace(device="b", start=1, stop=8, rows=(28, 56), received_at_s=11.0, wait_ms=2.0, compute_ms=25.0),
        StageTrace(device="a", start=8, stop=9, received_at_s=11.0, wait_ms=500.0, compute_ms=250.0, sent_at_s=12.0),
        StageTrace(device="b", start=9, stop=20, received_at_s=12.5, compute_ms=4.0),
    )
    outcome = _outcome(10.0, 13.0).model_copy(update={"dispatched_at_s": 10.25, "trace": trace})
    assert [line.strip() for line in time_lines(outcome)] == [
        "250.0 ms waiting at the source",
        "0.0 ms to a, 0.0 ms queue, 250.0 ms for blocks [0,1)",
        "250.0 ms until first rows at a, 0.0 ms until the last, 0.0 ms queue, 500.0 ms for rows [0,28) of blocks [1,8)",
        "750.0 ms until first rows at b, 2.0 ms until the last, 0.0 ms queue, 25.0 ms for rows [28,56) of blocks [1,8)",
        "750.0 ms until first rows at a, 500.0 ms until the last, 0.0 ms queue, 250.0 ms for blocks [8,9)",
        "500.0 ms to b, 0.0 ms queue, 4.0 ms for blocks [9,20)",
    ]
