"""Claims of Kafetzis & Koutsopoulos that are quick to compute again."""

import pytest

from benchmarks.claims.kafetzis_claims import alexnet_tasks, assignment_is_exact, every_choice


def test_assignment_is_exact() -> None:
    assert assignment_is_exact().holds


@pytest.mark.parametrize(("is_merged", "stages"), [(True, 8), (False, 11)])
def test_tasks_have_a_route_per_cut(is_merged: bool, stages: int) -> None:
    tasks = alexnet_tasks(0, 2, 1.0, is_merged=is_merged)
    assert [len(task.routes) for task in tasks] == [stages + 1] * 2
    assert every_choice(tasks).shape == ((stages + 1) ** 2, 2)
