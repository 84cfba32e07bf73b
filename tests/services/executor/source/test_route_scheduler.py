from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from services.executor.source.route_scheduler import RouteScheduler
from shared.messages.streams import PlanRoute, PlanStage


def routes(*weights: int) -> tuple[PlanRoute, ...]:
    return tuple(
        PlanRoute(stages=(PlanStage(start=0, stop=1, device=f"d{number}"),), weight=weight)
        for number, weight in enumerate(weights)
    )


def take(scheduler: RouteScheduler, count: int) -> list[str]:
    taken = [scheduler.next(lambda route: True) for _ in range(count)]
    return [route.stages[0].device for route in taken if route]


def test_weights_are_spread_smoothly() -> None:
    scheduler = RouteScheduler()
    scheduler.set_routes(routes(5, 1, 1))
    assert take(scheduler, 7) == ["d0", "d0", "d1", "d0", "d2", "d0", "d0"]


def test_unusable_routes_are_left_out() -> None:
    scheduler = RouteScheduler()
    scheduler.set_routes(routes(1, 1))
    assert scheduler.next(lambda route: route.stages[0].device == "d1") == routes(1, 1)[1]
    assert scheduler.next(lambda route: False) is None


def test_the_same_routes_again_keep_their_turn() -> None:
    scheduler = RouteScheduler()
    scheduler.set_routes(routes(1, 1))
    assert take(scheduler, 1) == ["d0"]
    scheduler.set_routes(routes(1, 1))
    assert take(scheduler, 1) == ["d1"]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 3))
def test_shares_are_exact_over_whole_rounds(weights: list[int], rounds: int) -> None:
    scheduler = RouteScheduler()
    scheduler.set_routes(routes(*weights))
    counted = Counter(take(scheduler, rounds * sum(weights)))
    assert [counted[f"d{number}"] for number in range(len(weights))] == [rounds * weight for weight in weights]


def test_a_burst_takes_its_routes_in_order_and_the_next_burst_again() -> None:
    scheduler = RouteScheduler()
    scheduler.set_routes(routes(2, 1), in_order=True)
    assert take(scheduler, 5) == ["d0", "d0", "d1", "d0", "d0"]
    scheduler.begin_burst()
    assert take(scheduler, 3) == ["d0", "d0", "d1"]


def test_a_retry_takes_no_place_of_a_burst() -> None:
    scheduler = RouteScheduler()
    scheduler.set_routes(routes(2, 1), in_order=True)
    assert take(scheduler, 1) == ["d0"]
    assert scheduler.next(lambda route: True, is_retry=True) is not None
    assert take(scheduler, 2) == ["d0", "d1"]


def test_a_route_of_a_burst_that_cannot_be_taken_is_replaced_and_the_order_goes_on() -> None:
    scheduler = RouteScheduler()
    scheduler.set_routes(routes(1, 1, 1), in_order=True)
    replaced = scheduler.next(lambda route: route.stages[0].device == "d2")
    assert replaced is not None
    assert replaced.stages[0].device == "d2"
    assert scheduler.next(lambda route: False) is None
    assert take(scheduler, 2) == ["d1", "d2"]


def test_a_burst_goes_on_at_its_place_when_routes_change() -> None:
    scheduler = RouteScheduler()
    scheduler.set_routes(routes(2, 2), in_order=True)
    assert take(scheduler, 3) == ["d0", "d0", "d1"]
    scheduler.set_routes(routes(1, 1, 1, 1), in_order=True)
    assert take(scheduler, 1) == ["d3"]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_every_route_of_a_burst_gets_its_share(weights: list[int]) -> None:
    scheduler = RouteScheduler()
    scheduler.set_routes(routes(*weights), in_order=True)
    expected = [f"d{number}" for number, weight in enumerate(weights) for _ in range(weight)]
    assert take(scheduler, 2 * sum(weights)) == expected * 2
