import pytest

from services.executor.source.arrival_stats import ArrivalStats


def test_nothing_before_the_first_request() -> None:
    assert ArrivalStats("s").usage(0.0) is None


def test_median_size_and_rate() -> None:
    stats = ArrivalStats("s")
    for number, size_bytes in enumerate((100, 900, 200)):
        stats.add(size_bytes, number * 0.5)
    usage = stats.usage(1.0)
    assert usage is not None
    assert (usage.stream, usage.input_bytes) == ("s", 200)
    assert usage.rate_hz == pytest.approx(2.0)


def test_only_changes_of_more_than_a_fifth_are_news() -> None:
    stats = ArrivalStats("s")
    stats.add(100, 0.0)
    assert stats.change(0.0) is not None
    stats.add(100, 1.0)
    assert stats.change(1.0) is not None
    stats.add(105, 2.1)
    assert stats.change(2.1) is None
    for number in range(8):
        stats.add(500, 3.0 + number)
    changed = stats.change(11.0)
    assert changed is not None
    assert changed.input_bytes == 500


def test_a_stream_that_fell_silent_has_no_rate() -> None:
    stats = ArrivalStats("s")
    stats.add(1, 0.0)
    stats.add(1, 1.0)
    usage = stats.usage(100.0)
    assert usage is not None
    assert usage.rate_hz is None
