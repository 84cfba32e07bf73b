"""Reasons in the status of one stream."""

import pytest

from planning.problem.plan import Constraint, Infeasible, Violation
from services.planner.coordination.invariants import InvariantError
from services.planner.coordination.stream_findings import StreamFindings
from shared.messages.events import EventKind
from shared.messages.streams import StreamPhase
from shared.policy import Objective
from tests.support.planner_bench import events


def infeasible(message: str, constraint: Constraint = Constraint.DEADLINE, subject: str = "camera") -> Infeasible:
    return Infeasible("auto", Objective.LATENCY, (Violation(constraint, subject, message),))


@pytest.fixture
def findings() -> StreamFindings:
    return StreamFindings("camera", "planner")


def test_what_is_missing_hides_what_is_impossible_and_that_an_overload(findings: StreamFindings) -> None:
    assert findings.state(is_running=False) is StreamPhase.PLANNING
    assert findings.state(is_running=True) is StreamPhase.RUNNING
    findings.overload_found("server is too slow")
    assert findings.has_overload
    assert findings.reasons(is_running=True) == ("server is too slow",)
    assert findings.reasons(is_running=False) == ()
    findings.strategy_failed("it broke")
    assert (findings.state(is_running=True), findings.reasons(is_running=True)) == (
        StreamPhase.INFEASIBLE,
        ("it broke",),
    )
    findings.readiness_found(("no model",))
    assert (findings.state(is_running=True), findings.reasons(is_running=True)) == (StreamPhase.WAITING, ("no model",))
    findings.readiness_found(())
    assert findings.state(is_running=True) is StreamPhase.INFEASIBLE


def test_new_figures_of_a_constraint_are_no_second_event(findings: StreamFindings) -> None:
    (event,) = events(findings.feasibility_found(infeasible("9 ms > 5 ms"), ["server: full"], 1.0))
    assert (event.kind, event.data) == (EventKind.INFEASIBLE, {"reasons": ["9 ms > 5 ms", "server: full"]})
    assert findings.feasibility_found(infeasible("8 ms > 5 ms"), [], 2.0) == []
    assert findings.reasons(is_running=True) == ("8 ms > 5 ms",)
    assert len(events(findings.feasibility_found(infeasible("too large", Constraint.MEMORY, "pi"), [], 3.0))) == 1


def test_a_constraint_that_is_broken_again_is_announced_again(findings: StreamFindings) -> None:
    findings.feasibility_found(infeasible("9 ms > 5 ms"), [], 1.0)
    assert findings.feasibility_found(None, [], 2.0) == []
    assert findings.state(is_running=True) is StreamPhase.RUNNING
    assert len(events(findings.feasibility_found(infeasible("9 ms > 5 ms"), [], 3.0))) == 1


def test_kinds_without_texts_are_a_broken_invariant(findings: StreamFindings) -> None:
    findings.feasibility_found(infeasible("9 ms > 5 ms"), [], 1.0)
    findings.validate()
    findings._infeasible = ()
    with pytest.raises(InvariantError):
        findings.validate()


def test_what_is_impossible_waits_for_devices_that_still_measure(findings: StreamFindings) -> None:
    findings.feasibility_found(infeasible("pi has too little memory", Constraint.MEMORY, "pi"), [], 1.0)
    findings.readiness_found((), measuring=["server"])
    assert findings.state(is_running=False) is StreamPhase.WAITING
    assert findings.reasons(is_running=False) == ("device server is still measuring", "pi has too little memory")
    findings.readiness_found(())
    assert findings.state(is_running=False) is StreamPhase.INFEASIBLE
    findings.readiness_found((), measuring=["server"])
    findings.feasibility_found(None, [], 2.0)
    assert (findings.state(is_running=True), findings.reasons(is_running=True)) == (StreamPhase.RUNNING, ())
    findings.readiness_found(("no operator",), is_refused=True)
    assert findings.state(is_running=True) is StreamPhase.INFEASIBLE
