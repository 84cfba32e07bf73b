"""The text of `segue submit` about a burst."""

from services.cli.commands.submit_commands import burst_text
from shared.client import ClientTimeout
from shared.messages.requests import Outcome, OutcomeStatus


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
