"""Policies from the message to the verdict, in the planner's core."""

import pytest

from services.planner.inbound import PolicyDocument
from services.planner.problems.planning_jobs import PlanningJob, run_job
from shared.bus import topics
from shared.messages.streams import StreamPhase
from tests.support.planner_bench import Bench, plans, published
from tests.support.planner_world import presence


@pytest.fixture
def running() -> Bench:
    bench = Bench()
    bench.fleet()
    bench.obey()
    assert bench.status().state is StreamPhase.RUNNING
    bench.effects.clear()
    return bench


def test_only_the_newest_of_several_policies_is_judged(running: Bench) -> None:
    running.hear(PolicyDocument("camera", b'{"retry_limit": 1, "revision": "one"}'))
    _, job = running.core.next_job(running.now_s)
    assert isinstance(job, PlanningJob)
    running.hear(PolicyDocument("camera", b'{"retry_limit": 2, "revision": "two"}'))
    assert running.take(running.core.answered(job, run_job(job, running.solve), running.now_s)) == []
    running.obey()
    assert running.status().policy_revision == "two"
    assert running.core.snapshot.policy("camera").retry_limit == 2


def test_a_refused_policy_is_overwritten_on_the_broker_by_the_one_in_force(running: Bench) -> None:
    running.hear(PolicyDocument("camera", b'{"retry_limit": 5, "revision": "good"}'))
    running.obey()
    effects = running.hear(PolicyDocument("camera", b'{"strategy": "magic", "revision": "bad"}'))
    (payload,) = published(effects, topics.policy("camera"))
    assert b'"revision": "good"' in payload
    assert running.status().policy_revision == "bad"
    assert not running.status().policy_accepted
    assert running.restarted().core.snapshot.policy("camera").retry_limit == 5


def test_a_policy_for_energy_is_accepted_with_a_warning_without_power_figures(running: Bench) -> None:
    running.hear(PolicyDocument("camera", b'{"objective": "energy", "revision": "r"}'))
    running.obey()
    assert running.status().policy_accepted
    (reason,) = running.status().policy_reasons
    assert "no device has power figures" in reason
    running.hear(presence("pi", power_active_w=6.4))
    running.hear(PolicyDocument("camera", b'{"objective": "energy", "revision": "s"}'))
    running.obey()
    assert (running.status().policy_revision, running.status().policy_reasons) == ("s", ())


def test_an_accepted_policy_is_solved_once(running: Bench) -> None:
    running.solved.clear()
    running.hear(PolicyDocument("camera", b'{"devices": {"deny": ["server"]}, "revision": "r"}'))
    done = running.obey()
    assert running.status().policy_revision == "r"
    assert [stage.device for stage in plans(done)[-1].routes[0].stages] == ["pi"]
    assert len(running.solved) == 1


def test_a_strategy_that_raises_on_a_new_policy_refuses_it(running: Bench) -> None:
    running.hear(PolicyDocument("camera", b'{"retry_limit": 9, "revision": "r"}'))
    _, job = running.core.next_job(running.now_s)
    assert isinstance(job, PlanningJob)
    assert job.request is not None
    running.take(running.core.failed(job, "oh", running.now_s))
    assert (running.status().policy_accepted, running.status().policy_revision) == (False, "r")
