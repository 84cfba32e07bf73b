"""Percentiles that can be worked out by hand."""

from hypothesis import given
from hypothesis import strategies as st

from services.collector.query_results import Window, nearest_rank_percentile, summarise_latencies


def test_percentiles_by_nearest_rank() -> None:
    ordered = [10.0, 20.0, 30.0, 40.0]
    assert [nearest_rank_percentile(ordered, percent) for percent in (1, 25, 50, 75, 95, 100)] == [
        10,
        10,
        20,
        30,
        40,
        40,
    ]
    assert summarise_latencies([]).p50_ms is None
    latency = summarise_latencies([30.0, 10.0, 20.0])
    assert (latency.count, latency.mean_ms, latency.p50_ms, latency.min_ms, latency.max_ms) == (3, 20, 20, 10, 30)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.floats(0.5, 100))
def test_a_percentile_is_the_smallest_value_with_enough_below(values: list[float], percent: float) -> None:
    ordered = sorted(values)
    found = nearest_rank_percentile(ordered, percent)
    assert sum(value <= found for value in ordered) >= len(ordered) * percent / 100 - 1e-9
    assert sum(value < found for value in ordered) < len(ordered) * percent / 100 + 1e-9


def test_a_window_restricts_only_what_it_names() -> None:
    condition, values = Window(stream="camera", since_s=5.0).condition()
    assert condition == "completed_at_s >= ? AND completed_at_s < ? AND stream = ?"
    assert values == [5.0, float("inf"), "camera"]
