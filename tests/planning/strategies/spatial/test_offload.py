from planning.problem.plan import Plan
from planning.strategies.spatial.offload import OFFLOAD
from tests.support.spatial_problems import meshed, row_chain

MODEL = row_chain([(3, 1, 1, 8)], input_rows=8)


def test_the_best_hardware_counts_and_not_its_link() -> None:
    problem = meshed(MODEL, [20.0, 8.0, 8.0], [300, 1, 300])
    answer = OFFLOAD.solve(problem, seed=0, time_budget_s=0.1)
    assert isinstance(answer, Plan)
    assert answer.streams["s"].routes[0].devices == ("d1",)
    # 8,000 bytes at 1 Mbps take 64 ms, there and back.
    assert answer.cost == 64 + 8 + 64
