"""What `segue submit` makes sure of before it sends anything, and what it says of a burst."""

from pathlib import Path

import pytest

from services.cli.commands.submit_commands import burst_text, sendable
from shared.client import ClientTimeout
from shared.messages.requests import Outcome, OutcomeStatus
from shared.service_runtime import InputError


def test_a_request_too_large_for_the_bus_is_not_sent(tmp_path: Path) -> None:
    file = tmp_path / "large.jpg"
    file.write_bytes(bytes(101))
    with pytest.raises(InputError, match="has 101 bytes; a request has at most 100"):
        sendable(file, 100)


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
    assert burst_text([none]) == "burst of 1: no request has an outcome, so there is no time to tell"
