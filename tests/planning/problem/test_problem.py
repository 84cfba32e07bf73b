from dataclasses import replace

import pytest

from planning.problem.problem import Block, Device, Link, link_table
from shared.policy import Policy
from tests.support.two_device_problem import STREAM, two_device_problem


def test_a_link_listed_once_serves_both_directions() -> None:
    link = Link("a", "b", 8.0)
    assert link_table([link]) == {("a", "b"): link, ("b", "a"): link}


def test_a_link_listed_in_both_directions_keeps_both() -> None:
    there, back = Link("a", "b", 8.0), Link("b", "a", 4.0)
    assert link_table([there, back]) == {("a", "b"): there, ("b", "a"): back}


@pytest.mark.parametrize(
    ("own_ms", "policy_ms", "deadline_ms"), [(None, None, None), (5.0, None, 5.0), (None, 7.0, 7.0), (9.0, 7.0, 7.0)]
)
def test_the_stricter_deadline_counts(own_ms: float | None, policy_ms: float | None, deadline_ms: float | None) -> None:
    problem = replace(two_device_problem(), policy=Policy(deadline_ms=policy_ms))
    assert problem.deadline_ms(replace(STREAM, deadline_ms=own_ms)) == deadline_ms


def test_streams_by_name() -> None:
    problem = two_device_problem()
    assert problem.stream("s") == STREAM
    with pytest.raises(KeyError):
        problem.stream("t")


def test_a_block_works_on_its_output_unless_it_says_otherwise() -> None:
    assert Block("x", 7.0).working_bytes == 7.0
    assert Block("x", 7.0, activation_bytes=9.0).working_bytes == 9.0


def test_background_processes_take_turns_with_the_computing() -> None:
    assert Device(load_factor=1.5).slowdown == 1.5
    assert Device(load_factor=1.5, background_processes=2).slowdown == 4.5
