"""Messages that do not decode are counted, and told once per cause."""

from shared.messages.reject_counter import MAX_CAUSES, RejectCounter


def test_a_cause_is_news_once() -> None:
    bad = RejectCounter()
    assert [bad.add("a", "x"), bad.add("a", "x"), bad.add("a", "y"), bad.add("b", "x")] == [True, False, True, True]
    assert bad.count == 4


def test_causes_without_end_are_only_counted() -> None:
    bad = RejectCounter()
    told = sum(bad.add("a", str(number)) for number in range(2000))
    assert told == MAX_CAUSES
    assert bad.count == 2000
