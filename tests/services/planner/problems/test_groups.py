"""Groups of streams that are planned together."""

from dataclasses import replace

import pytest

from planning.strategies import known_strategies
from planning.strategies.traits import Joint
from services.planner.problems.groups import JOINT_OBJECTIVES, group_of, is_joint, joint_policy, terms
from services.planner.problems.snapshot import PolicySet
from shared.policy import CodecMode, DeviceRule, Objective, Policy, QueueDiscipline
from tests.support.planner_world import CAMERAS, after, cameras, declaration

TOTAL = Policy(objective=Objective.TOTAL_DELAY)


def test_strategies_that_are_joint_on_a_fleet_ask_for_it_with_all_their_variants() -> None:
    joint = {name for name in known_strategies() if is_joint(Policy(strategy=name))}
    assert joint == {name for name, each in known_strategies().items() if each.traits.joint is Joint.ON_A_FLEET}
    assert {name.partition(":")[0] for name in joint} == {
        "milp",
        "kafetzis_koutsopoulos",
        "rank_assignment",
        "fair_ranks",
    }
    assert "kafetzis_koutsopoulos:pairwise" in joint


def test_a_strategy_that_is_not_known_is_not_joint() -> None:
    assert not is_joint(Policy(strategy="from a newer release"))


@pytest.mark.parametrize("objective", list(Objective))
def test_joint_objectives_and_joint_strategies_ask_for_it(objective: Objective) -> None:
    assert is_joint(Policy(objective=objective)) == (objective in JOINT_OBJECTIVES)
    assert is_joint(Policy(objective=objective, strategy="milp"))
    assert is_joint(Policy(objective=objective, strategy="jps")) == (objective in JOINT_OBJECTIVES)


def test_streams_with_the_same_terms_are_planned_together() -> None:
    snapshot = after(cameras(TOTAL), declaration("other", source="east"))
    assert all(group_of(name, snapshot) == CAMERAS for name in CAMERAS)
    assert group_of("other", snapshot) == ("other",)
    gone = after(snapshot, declaration("north", model="", source="none"))
    assert group_of("east", gone) == ("east", "west")


def test_by_default_every_stream_is_planned_for_itself() -> None:
    assert group_of("east", cameras()) == ("east",)


@pytest.mark.parametrize(
    "other",
    [
        replace(TOTAL, objective=Objective.DELAY_VARIANCE),
        replace(TOTAL, strategy="kafetzis_koutsopoulos"),
        replace(TOTAL, devices=DeviceRule(deny=("server",))),
        replace(TOTAL, raw_input_stays_on_source=True),
        replace(TOTAL, max_devices=1),
        replace(TOTAL, codec=CodecMode.LOSSLESS),
        replace(TOTAL, min_top1_agreement=0.9),
        replace(TOTAL, max_relative_error=0.1),
        replace(TOTAL, queue=QueueDiscipline.SHORTEST_JOB_FIRST),
    ],
)
def test_what_a_problem_has_only_once_must_agree(other: Policy) -> None:
    assert group_of("east", after(cameras(TOTAL), PolicySet("west", other))) == ("east", "north")


def test_what_is_a_streams_own_may_differ() -> None:
    own = replace(TOTAL, deadline_ms=500.0, min_gain=0.2, cooldown_ms=9.0, max_in_flight=1, retry_limit=0)
    assert terms(own) == TOTAL
    assert group_of("east", after(cameras(TOTAL), PolicySet("west", own))) == CAMERAS
    assert joint_policy([own]) == own
    assert joint_policy([own, TOTAL]) == TOTAL
