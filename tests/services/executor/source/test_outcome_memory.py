from services.executor.source.outcome_memory import OutcomeMemory
from services.executor.source.source_events import Republish, Request, RestoredOutcome, SourceLimits

LIMITS = SourceLimits(
    republish_interval_s=5.0,
    republish_ceiling_s=15.0,
    max_outcomes=5,
    max_confirmed_outcomes=2,
    max_outcome_bytes=100,
    outcome_age_s=1000.0,
)


def request(name: str) -> Request:
    return Request(name, 1, 0.0, response_topic="mine", correlation_data=b"2")


def test_unconfirmed_outcomes_come_due_ever_more_rarely() -> None:
    memory = OutcomeMemory(LIMITS)
    memory.add(request("a"), 1, 0.0)
    due = [second for second in range(60) if memory.due(float(second), has_collector=True)]
    assert due == [5, 10, 20, 35, 50]


def test_confirmed_outcomes_are_quiet_and_news_only_once() -> None:
    memory = OutcomeMemory(LIMITS)
    memory.add(request("a"), 1, 0.0)
    assert memory.confirm(["a", "unknown"]) == ("a",)
    assert memory.confirm(["a"]) == ()
    assert memory.due(100.0, has_collector=True) == ()


def test_without_a_collector_only_what_the_broker_lacks_comes_due_with_its_response_topic() -> None:
    memory = OutcomeMemory(LIMITS)
    for name in "abc":
        memory.add(request(name), 1, 0.0)
    memory.add(request("old release"), 1, 0.0, is_published=True)
    assert memory.note_published(["a", "unknown"]) == ("a",)
    assert memory.note_published(["a"]) == ()
    assert memory.confirm(["c"]) == ("c",)
    assert memory.due(5.0, has_collector=False) == (Republish("b", "mine", b"2"),)
    assert memory.due(6.0, has_collector=True) == (
        Republish("a", with_outputs=False),
        Republish("old release", with_outputs=False),
    )


def test_an_outcome_that_the_broker_lacked_before_a_restart_is_due_at_once_without_a_collector() -> None:
    memory = OutcomeMemory(LIMITS)
    memory.restore(RestoredOutcome("a", 1, age_s=1.0, confirmed=False, unpublished=request("a")), 0.0)
    memory.restore(RestoredOutcome("b", 1, age_s=1.0, confirmed=False), 0.0)
    assert memory.due(0.0, has_collector=False) == (Republish("a", "mine", b"2"),)


def test_confirmed_outcomes_go_first() -> None:
    memory = OutcomeMemory(LIMITS)
    for name in "abcdef":
        memory.add(request(name), 1, 0.0)
    memory.confirm(["c"])
    assert memory.trim(1.0) == ("c",)
    assert len(memory) == 5


def test_only_so_many_confirmed_ones_are_kept() -> None:
    memory = OutcomeMemory(LIMITS)
    for name in "abcd":
        memory.add(request(name), 1, 0.0)
    memory.confirm("abcd")
    assert memory.trim(1.0) == ("a", "b")


def test_size_and_age_are_bounds_too() -> None:
    memory = OutcomeMemory(LIMITS)
    memory.add(request("large"), 90, 0.0)
    memory.add(request("larger"), 95, 1.0)
    assert memory.trim(1.0) == ("large",)
    assert memory.trim(1002.0) == ("larger",)
    assert len(memory) == 0


def test_restored_outcomes_are_announced_at_once_unless_confirmed() -> None:
    memory = OutcomeMemory(LIMITS)
    memory.restore(RestoredOutcome("old", 1, age_s=100.0, confirmed=False), 0.0)
    memory.restore(RestoredOutcome("known", 1, age_s=100.0, confirmed=True), 0.0)
    assert "old" in memory
    assert "known" in memory
    assert memory.due(0.0, has_collector=True) == (Republish("old", with_outputs=False),)
    assert memory.trim(901.0) == ("old", "known")
