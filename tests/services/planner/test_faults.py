"""Messages that do not decode are counted, and told once per cause."""

from services.planner.faults import BadMessages


def test_a_cause_is_news_once() -> None:
    bad = BadMessages()
    assert [bad.note("a", "x"), bad.note("a", "x"), bad.note("a", "y"), bad.note("b", "x")] == [True, False, True, True]
    assert bad.dropped == 4


def test_causes_without_end_are_only_counted() -> None:
    bad = BadMessages()
    told = sum(bad.note("a", str(number)) for number in range(2000))
    assert told == 512 and bad.dropped == 2000
