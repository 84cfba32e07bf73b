"""Which reroutes are tried, and what their trials lead to."""

from dataclasses import replace

import pytest

from services.planner.coordination.effects import Correct, Replan
from services.planner.coordination.stream_measurements import StreamMeasurements
from services.planner.decisions.causes import Cause
from services.planner.decisions.replan import RerouteDecision
from shared.messages.events import RerouteCause
from shared.messages.streams import DeviceTime, MeasuredLatencies
from shared.policy import Objective, Policy
from tests.support.planner_world import in_force_for, problem_of, route, world

PROBLEM = problem_of(world())
PI = in_force_for(PROBLEM, (route((0, 5, "pi")),), epoch=1)
SERVER = in_force_for(PROBLEM, (route((0, 5, "server")),), epoch=2)


def measured(epoch: int, latency_ms: float, count: int = 12) -> MeasuredLatencies:
    times = (DeviceTime(device="server", took_ms=latency_ms),)
    return MeasuredLatencies(epoch=epoch, latencies_ms=(latency_ms,) * count, devices=times)


def rerouted(cause: RerouteCause = RerouteCause.LOAD_CHANGED) -> RerouteDecision:
    return RerouteDecision(Cause(cause, "it changed"), "it changed", SERVER.routes, 165.0, 39.0)


def tried(cause: RerouteCause = RerouteCause.LOAD_CHANGED) -> StreamMeasurements:
    """Return the measurements of a stream that has moved from the pi, where it took 165 ms, to the server."""
    made = StreamMeasurements("camera")
    made.predicted(PROBLEM, 165.0)
    made.seen(measured(1, 165.0), PI, 10.0)
    made.committed(rerouted(cause), PI, SERVER, 11.0)
    made.predicted(PROBLEM, 39.0)
    return made


def test_a_reroute_that_has_made_it_worse_is_to_be_taken_back() -> None:
    made = tried()
    assert made.trial is not None
    steps = list(made.seen(measured(2, 400.0), SERVER, 13.0))
    made.validate()
    assert made.take_back is not None
    assert made.take_back.routes == PI.routes
    assert steps == [Correct(made.take_back.corrections), Replan("camera", 13.0)]
    # The next decision carries it out, or cannot.
    made.predicted(PROBLEM, 39.0)
    assert made.take_back is None


def test_latencies_of_another_plan_do_not_count() -> None:
    made = tried()
    made.seen(measured(1, 400.0), SERVER, 13.0)
    assert made.take_back is None
    assert made.trial is not None
    assert made.trial.after_ms == ()


def test_the_next_reroute_ends_the_trial() -> None:
    made = tried()
    made.committed(rerouted(RerouteCause.DEVICE_LOST), SERVER, replace(PI, epoch=3), 12.0)
    assert made.trial is None
    assert list(made.seen(measured(2, 400.0), replace(PI, epoch=3), 13.0)) == []


@pytest.mark.parametrize(
    "cause", [RerouteCause.POLICY_CHANGED, RerouteCause.DEVICE_LOST, RerouteCause.FIRST_PLAN, RerouteCause.MEASURED]
)
def test_what_was_not_chosen_for_its_latency_is_not_tried(cause: RerouteCause) -> None:
    assert tried(cause).trial is None


def test_other_objectives_are_not_tried() -> None:
    made = StreamMeasurements("camera")
    made.predicted(replace(PROBLEM, policy=Policy(objective=Objective.ENERGY)), 0.5)
    made.seen(measured(1, 165.0), PI, 10.0)
    made.committed(rerouted(), PI, SERVER, 11.0)
    assert made.trial is None


def test_without_latencies_before_nothing_is_tried() -> None:
    made = StreamMeasurements("camera")
    made.predicted(PROBLEM, 165.0)
    made.committed(rerouted(), PI, SERVER, 11.0)
    assert made.trial is None
