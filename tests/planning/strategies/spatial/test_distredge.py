from planning.problem.plan import Plan
from planning.strategies.registry import known_strategies, solve, with_strategy
from planning.strategies.spatial.distredge import BASELINES, Distredge
from planning.strategies.strategy import LongSearch
from tests.support.spatial_problems import group_of, meshed, row_chain

PROBLEM = meshed(
    row_chain([(3, 1, 1, 16), (2, 2, 0, 8), (3, 1, 1, 8), (3, 1, 1, 8)], input_rows=16), [90.0, 30.0, 60.0], [80] * 3
)


def test_the_plan_is_that_of_the_best_episode() -> None:
    seen: list[tuple[int, int, float]] = []
    strategy = Distredge().reporting(lambda *step: seen.append(step))
    answer = strategy.solve(PROBLEM, seed=1, time_budget_s=0.1)
    assert isinstance(answer, Plan)
    assert answer.cost == seen[-1][2] == min(best for *_, best in seen)
    # 20 splits of time budget: as many episodes as the volumes allow.
    volumes = len(strategy.partition(group_of(PROBLEM), 1))
    assert [episode for episode, *_ in seen] == list(range(1, 20 // volumes + 1))
    assert {total for _, total, _ in seen} == {20 // volumes}
    assert solve(with_strategy(PROBLEM, "distredge"), seed=1, time_budget_s=0.1) == answer


def test_only_a_long_search_reports_its_progress() -> None:
    found = {name for name, strategy in known_strategies().items() if isinstance(strategy, LongSearch)}
    assert found == {"distredge", "distredge:seeded"}


def test_a_seeded_search_is_never_above_a_baseline_or_the_search_alone() -> None:
    answer = solve(with_strategy(PROBLEM, "distredge:seeded"), seed=1, time_budget_s=0.01)
    assert isinstance(answer, Plan)
    for baseline in (*BASELINES, Distredge()):
        other = baseline.solve(PROBLEM, seed=1, time_budget_s=0.01)
        assert isinstance(other, Plan)
        assert answer.cost <= other.cost
