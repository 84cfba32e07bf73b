"""Streams that are planned together, from messages to epochs: joined, rerouted, rejected, left."""

import json
from dataclasses import replace

import pytest

from planning.problem.plan import Plan, Route, StreamPlan, Tile
from services.planner.coordination.effects import Effect
from services.planner.decisions.committed_routes import joint_cost
from services.planner.inbound import PolicyDocument
from services.planner.problems.planning_jobs import PlanningJob, run_job
from services.planner.problems.problem_from_snapshot import own_problem
from services.planner.problems.snapshot import ModelWithdrawn
from shared.messages.control import Prepare, Ready, Rejected, RejectionCause
from shared.messages.devices import State
from shared.messages.events import EventKind, Reroute, RerouteCause
from shared.messages.streams import PlanRoute
from tests.support.planner_bench import Bench, commands, events, plans
from tests.support.planner_fleet import MODEL, manifest_of
from tests.support.planner_world import CAMERAS, PI_MS, SHARED_MS, declaration, link, load, presence, profile

TOTAL = {"objective": "total_delay", "cooldown_ms": 0}
ALONE = {"objective": "latency", "cooldown_ms": 0}


def fleet(bench: Bench, policy: object = TOTAL) -> None:
    bench.hear(presence("server"), profile("server", SHARED_MS), manifest_of())
    for name in CAMERAS:
        bench.hear(presence(name), profile(name, PI_MS), link(name, "server", 50.0), declaration(name, source=name))
    bench.obey()
    for name in CAMERAS:
        demand(bench, name, policy)
    bench.obey()


def demand(bench: Bench, stream: str, policy: object, revision: str = "") -> list[Effect]:
    return bench.hear(PolicyDocument(stream, json.dumps({**policy, "revision": revision}).encode()))  # type: ignore[dict-item]


def routes(bench: Bench) -> dict[str, tuple[PlanRoute, ...]]:
    found = {name: bench.core.streams[name].epochs.committed for name in CAMERAS}
    return {name: plan.routes for name, plan in found.items() if plan is not None}


def devices(bench: Bench) -> dict[str, str]:
    return {name: ">".join(stage.device for stage in own[0].stages) for name, own in routes(bench).items()}


def reroutes(effects: list[Effect]) -> list[Reroute]:
    return [Reroute.model_validate(each.data) for each in events(effects) if each.kind is EventKind.REROUTE]


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    fleet(made)
    made.effects.clear()
    made.solved.clear()
    return made


def test_the_joint_plan_costs_less_than_what_each_would_choose_alone(bench: Bench) -> None:
    alone = Bench()
    fleet(alone, ALONE)
    assert set(devices(alone).values()) == {"server"}
    assert set(devices(bench).values()) != {"server"}
    bench.hear(load("server", 1.1))
    bench.plan()
    (problem,) = bench.solved
    assert [stream.name for stream in problem.streams] == list(CAMERAS)
    assert joint_cost(problem, routes(bench)) < 0.9 * joint_cost(problem, routes(alone))


def test_one_job_plans_all_and_heartbeats_plan_none(bench: Bench) -> None:
    bench.hear(load("server", 1.0), link("east", "server", 50.0))
    bench.plan()
    assert bench.solved == []
    bench.hear(link("east", "server", 55.0), link("west", "server", 45.0))
    bench.plan()
    assert len(bench.solved) == 1


def test_each_stream_that_changes_gets_its_own_epoch_and_a_reason_with_the_joint_cost(bench: Bench) -> None:
    before = devices(bench)
    bench.now_s += 100.0
    bench.hear(load("server", 20.0))
    done = bench.obey()
    changed = [name for name in CAMERAS if before[name] != name]
    assert devices(bench) == {name: name for name in CAMERAS}
    told = reroutes(done)
    assert {each.stream for each in told} == set(changed)
    assert all(each.together == CAMERAS for each in told)
    (before_ms,) = {each.predicted_before for each in told}
    assert before_ms is not None
    assert before_ms > 3 * 165
    assert all(each.predicted_after == pytest.approx(3 * 165) for each in told)
    assert told[0].cause is RerouteCause.LOAD_CHANGED
    assert "together with" in told[0].reason
    for name in CAMERAS:
        assert len(plans(done, name)) == (name in changed)


def test_nothing_is_solved_while_a_proposal_of_one_of_them_is_under_way(bench: Bench) -> None:
    bench.now_s += 100.0
    bench.hear(load("server", 20.0))
    bench.plan()
    bench.solved.clear()
    bench.hear(load("server", 30.0))
    bench.plan()
    assert bench.solved == []


def test_a_rejection_ends_the_proposals_of_all_and_they_are_planned_again_without_it(bench: Bench) -> None:
    bench.now_s += 100.0
    bench.hear(load("server", 20.0))
    asked = [(device, each) for device, each in commands(bench.plan()) if isinstance(each, Prepare)]
    assert len(asked) > 0
    bench.now_s += 1.0
    bench.hear(load("server", 0.1))
    device, prepare = asked[0]
    bench.hear(
        Rejected(device=device, stream=prepare.stream, epoch=prepare.epoch, cause=RejectionCause.ERROR, reason="broken")
    )
    assert all(bench.core.streams[name].epochs.proposal is None for name in CAMERAS)
    done = bench.obey()
    problem = bench.solved[-1]
    assert own_problem(problem, prepare.stream).devices[device].block_ms == {}
    assert set(devices(bench).values()) == {"server"}
    assert any("broken" in each.text for each in events(done) + events(bench.effects))


def test_what_is_ready_too_late_is_not_committed(bench: Bench) -> None:
    """Two streams have a proposal and one is rejected: the other is void, even for devices that are ready."""
    bench.hear(link("east", "server", 50.0), link("north", "server", 50.0), link("west", "server", 50.0))
    bench.now_s += 100.0
    bench.hear(load("server", 0.1))
    asked = [(device, each) for device, each in commands(bench.plan()) if isinstance(each, Prepare)]
    assert len({each.stream for _, each in asked}) >= 2
    (device, first), (_, second) = asked[0], asked[-1]
    rejected = Rejected(
        device=device, stream=first.stream, epoch=first.epoch, cause=RejectionCause.ERROR, reason="broken"
    )
    bench.hear(rejected)
    late = bench.hear(*(Ready(device=to, stream=each.stream, epoch=each.epoch) for to, each in asked[1:]))
    assert plans(late, second.stream) == []


def test_the_others_are_planned_again_when_a_stream_leaves_the_group(bench: Bench) -> None:
    demand(bench, "west", ALONE)
    bench.obey()
    bench.solved.clear()
    bench.hear(load("server", 1.1))
    bench.plan()
    assert sorted(tuple(stream.name for stream in problem.streams) for problem in bench.solved) == [
        ("east", "north"),
        ("west",),
    ]
    bench.solved.clear()
    bench.hear(declaration("north", model="", source="none"))
    bench.plan()
    assert ("east",) in [tuple(stream.name for stream in problem.streams) for problem in bench.solved]


def test_a_source_that_is_offline_leaves_its_stream_out_and_the_others_go_on(bench: Bench) -> None:
    bench.hear(presence("west", State.OFFLINE))
    bench.obey()
    assert [stream.name for stream in bench.solved[-1].streams] == ["east", "north"]
    assert bench.status("west").reasons == ("source device west is offline",)


def test_a_policy_is_judged_in_the_group_that_it_would_join(bench: Bench) -> None:
    demand(bench, "west", ALONE)
    bench.obey()
    bench.solved.clear()
    demand(bench, "west", {**TOTAL, "deadline_ms": 3.0}, "never")
    bench.plan()
    assert [stream.name for stream in bench.solved[0].streams] == list(CAMERAS)
    status = bench.status("west")
    assert (status.policy_revision, status.policy_accepted) == ("never", False)
    assert "deadline of 3 ms" in status.policy_reasons[0]
    assert bench.core.snapshot.policy("west").deadline_ms is None
    demand(bench, "west", TOTAL, "together")
    bench.obey()
    assert bench.status("west").policy_accepted
    assert bench.status("west").policy_revision == "together"


def test_a_deadline_that_one_stream_can_no_longer_keep_is_in_its_status_alone(bench: Bench) -> None:
    demand(bench, "east", {**TOTAL, "deadline_ms": 150.0})
    bench.obey()
    assert devices(bench)["east"] == "server"
    bench.now_s += 100.0
    bench.hear(load("server", 20.0))
    bench.obey()
    assert "past the deadline of 150 ms" in bench.status("east").reasons[0]
    assert bench.core.streams["west"].status().reasons == ()
    assert devices(bench) == {name: name for name in CAMERAS}


def test_the_queue_discipline_of_the_policy_reaches_every_plan(bench: Bench) -> None:
    for name in CAMERAS:
        demand(bench, name, {**TOTAL, "queue": "shortest_job_first"})
    bench.obey()
    for name in CAMERAS:
        plan = bench.core.streams[name].epochs.committed
        assert plan is not None
        assert plan.queue == "shortest_job_first"


@pytest.mark.parametrize("strategy", ["kafetzis_koutsopoulos", "rank_assignment"])
def test_joint_strategies_by_policy(bench: Bench, strategy: str) -> None:
    for name in CAMERAS:
        demand(bench, name, {**TOTAL, "strategy": strategy})
    bench.obey()
    problem = bench.solved[-1]
    assert problem.policy.strategy == strategy
    assert [stream.name for stream in problem.streams] == list(CAMERAS)
    answer = bench.solve(problem)
    assert isinstance(answer, Plan)
    assert joint_cost(problem, routes(bench)) == pytest.approx(answer.cost)
    assert set(devices(bench).values()) != {"server"}


def test_milp_by_policy_shares_the_servers_memory(bench: Bench) -> None:
    """Each stream alone would run on the server, which has memory for one of the two models."""
    other = manifest_of("b" * 64, "other")
    bench.hear(other, profile("server", SHARED_MS, other.model), profile("west", PI_MS, other.model))
    bench.hear(presence("server", memory_bytes=4_700_000), declaration("west", source="west", model="other"))
    for name in CAMERAS:
        demand(bench, name, {"strategy": "milp", "cooldown_ms": 0})
    bench.obey()
    problem = bench.solved[-1]
    assert [stream.name for stream in problem.streams] == list(CAMERAS)
    assert problem.devices["server"].memory_bytes == 4_700_000
    # Two cameras have the same model, and share its segment.
    assert sorted(device == "server" for device in devices(bench).values()) == [False, True, True]
    assert all(bench.core.streams[name].status().reasons == () for name in CAMERAS)


def test_a_plan_in_tiles_is_in_the_status_of_every_stream(bench: Bench) -> None:
    bench.hear(load("server", 3.0))
    _, job = bench.core.next_job(bench.now_s)
    assert isinstance(job, PlanningJob)
    answer = run_job(job, bench.solve)
    assert isinstance(answer.outcome, Plan)
    (stage, *rest) = answer.outcome.streams["east"].routes[0].stages
    halves = replace(stage, tiles=(Tile("east", (0, 4)), Tile("server", (4, 8))))
    tiled = {**answer.outcome.streams, "east": StreamPlan((Route((halves, *rest)),))}
    bench.take(bench.core.answered(job, replace(answer, outcome=replace(answer.outcome, streams=tiled)), bench.now_s))
    assert all("tiles" in bench.status(name).reasons[0] for name in CAMERAS)


def test_a_strategy_that_raises_is_in_the_status_of_every_stream(bench: Bench) -> None:
    bench.hear(load("server", 3.0))
    _, job = bench.core.next_job(bench.now_s)
    assert isinstance(job, PlanningJob)
    bench.take(bench.core.failed(job, "oh", bench.now_s))
    assert all("oh" in bench.status(name).reasons[0] for name in CAMERAS)
    assert bench.core.next_job(bench.now_s)[1] is None
    assert bench.core.next_job(bench.now_s + 6.0)[1] is not None


def test_an_answer_for_streams_that_have_parted_is_dropped(bench: Bench) -> None:
    bench.now_s += 100.0
    bench.hear(load("server", 20.0))
    _, job = bench.core.next_job(bench.now_s)
    assert isinstance(job, PlanningJob)
    answer = run_job(job, bench.solve)
    demand(bench, "north", ALONE)
    assert commands(bench.take(bench.core.answered(job, answer, bench.now_s))) == []
    bench.obey()
    assert devices(bench) == {name: name for name in CAMERAS}


def test_a_device_that_is_lost_ends_the_proposals_of_streams_planned_with_its_users(bench: Bench) -> None:
    used = next(name for name, device in devices(bench).items() if device == "server")
    bench.now_s += 100.0
    bench.hear(presence("helper"), profile("helper", tuple(each / 10 for each in SHARED_MS)))
    others = [name for name in CAMERAS if name != used]
    for name in others:
        bench.hear(link(name, "helper", 200.0))
    bench.plan()
    proposing = [name for name in CAMERAS if bench.core.streams[name].epochs.proposal is not None]
    assert proposing
    assert used not in proposing
    bench.hear(presence("server", State.OFFLINE))
    assert all(bench.core.streams[name].epochs.proposal is None for name in CAMERAS)
    bench.obey()
    assert devices(bench)[used] == used


def test_groups_are_the_same_after_a_restart(bench: Bench) -> None:
    later = bench.restarted()
    later.hear(presence("server"), profile("server", SHARED_MS), manifest_of())
    for name in CAMERAS:
        later.hear(presence(name), profile(name, PI_MS), link(name, "server", 50.0))
    later.obey()
    assert [stream.name for stream in later.solved[-1].streams] == list(CAMERAS)
    assert reroutes(later.effects) == []
    assert devices(later) == devices(bench)


def test_an_accepted_policy_of_a_group_is_solved_once(bench: Bench) -> None:
    """The answer belongs to the group, not only to the stream whose policy was judged."""
    demand(bench, "west", {**TOTAL, "deadline_ms": 900.0}, "r")
    bench.plan()
    assert bench.status("west").policy_revision == "r"
    assert [tuple(stream.name for stream in problem.streams) for problem in bench.solved].count(CAMERAS) == 1


def test_an_answer_for_a_model_that_has_been_withdrawn_is_dropped(bench: Bench) -> None:
    bench.now_s += 100.0
    bench.hear(load("server", 20.0))
    _, job = bench.core.next_job(bench.now_s)
    assert isinstance(job, PlanningJob)
    answer = run_job(job, bench.solve)
    bench.hear(ModelWithdrawn(MODEL))
    assert commands(bench.take(bench.core.answered(job, answer, bench.now_s))) == []
    bench.plan()
    assert all("is not in the library" in bench.status(name).reasons[0] for name in CAMERAS)


@pytest.mark.parametrize("changed", [{"source": "north"}, {"jobs": 3}, {"model": "newer"}])
def test_an_answer_for_an_older_declaration_is_dropped(changed: dict[str, object]) -> None:
    """A plan for a source that the stream has left would be committed, and replaced at once."""
    bench = Bench()
    fleet(bench, ALONE)
    newer = manifest_of("b" * 64, "newer")
    bench.hear(newer, *(profile(name, PI_MS, newer.model) for name in CAMERAS))
    bench.plan()
    bench.now_s += 100.0
    bench.hear(load("server", 20.0))
    _, job = bench.core.next_job(bench.now_s)
    assert isinstance(job, PlanningJob)
    answer = run_job(job, bench.solve)
    bench.hear(declaration(job.stream, **{"source": job.stream, **changed}))
    assert commands(bench.take(bench.core.answered(job, answer, bench.now_s))) == []
    (prepared,) = {
        device for device, each in commands(bench.plan()) if isinstance(each, Prepare) and each.stream == job.stream
    }
    assert prepared == changed.get("source", job.stream)
