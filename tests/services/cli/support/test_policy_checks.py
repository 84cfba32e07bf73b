"""Faults of policies that are found before they are published."""

import pytest

from services.cli.support.policy_checks import check_policy, strategy_fault
from shared.exit_status import InputError
from shared.policy import Policy


def test_every_fault_has_a_line_with_its_key() -> None:
    check_policy({"deadline_ms": 5, "codec": "auto"})
    with pytest.raises(InputError) as caught:
        check_policy({"deadline_ms": -1, "speed": 9, "codec": "UINT8"})
    lines = dict(line.split(": ", 1) for line in str(caught.value).splitlines())
    assert lines.keys() == {"deadline_ms", "speed", "codec"}
    assert lines["speed"] == "unknown key"
    assert lines["codec"].startswith("'UINT8' cannot be a name")


def test_an_unknown_strategy_is_answered_with_the_closest_one() -> None:
    assert strategy_fault(Policy()) is None
    assert strategy_fault(Policy(strategy="neurosurgeon")) is None
    fault = strategy_fault(Policy(strategy="shortest_pat"))
    assert fault is not None
    assert fault.startswith("there is no shortest_pat (did you mean shortest_path?); known: ")
    with pytest.raises(InputError, match="strategy: there is no shortest_pat"):
        check_policy({"strategy": "shortest_pat"})
