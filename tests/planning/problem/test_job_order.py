from planning.problem.job_order import start_places
from planning.problem.plan import StreamPlan, sequential_route


def _plan(jobs: int) -> StreamPlan:
    return StreamPlan((sequential_route([(0, 1, "a", "raw")], jobs),), tuple(range(jobs)))


def _ranks(plans: dict[str, StreamPlan], *turns: str) -> dict[str, list[int]]:
    return {name: ranks.tolist() for name, ranks in start_places(plans, turns).items()}


def test_streams_take_turns() -> None:
    assert _ranks({"s": _plan(3), "t": _plan(2)}) == {"s": [0, 1, 2], "t": [0, 1]}


def test_named_turns_come_first_and_in_their_order() -> None:
    assert _ranks({"s": _plan(3), "t": _plan(2)}, "t", "t", "s") == {"s": [2, 4, 5], "t": [0, 1]}


def test_turns_beyond_the_jobs_of_a_stream_are_empty() -> None:
    assert _ranks({"s": _plan(1)}, "s", "s", "other") == {"s": [0]}
