from shared.duplicate_names import EQUAL_PATIENCE, NEWCOMER_PATIENCE, DuplicateDetector


def heard(rivals: DuplicateDetector, boot_id: str, times: int) -> list[bool]:
    return [rivals.must_stop(boot_id) for _ in range(times)]


def test_a_newcomer_leaves_the_name_to_the_one_that_was_there() -> None:
    newcomer = DuplicateDetector("b")
    assert newcomer.must_stop("a") is False
    assert newcomer.must_stop("b") is False
    assert heard(newcomer, "a", NEWCOMER_PATIENCE - 1)[-1] is True


def test_the_one_that_was_there_outlasts_a_newcomer() -> None:
    for own, other in (("a", "b"), ("b", "a")):
        incumbent = DuplicateDetector(own)
        incumbent.must_stop(own)
        assert not any(heard(incumbent, other, NEWCOMER_PATIENCE + 1))


def test_what_the_broker_keeps_of_an_earlier_start_is_no_rival() -> None:
    restarted = DuplicateDetector("b")
    assert not restarted.must_stop("a")
    assert not any(heard(restarted, "b", 20))
    assert not any(restarted.must_stop(f"c{number}") for number in range(20))


def test_of_two_that_came_together_exactly_one_stops() -> None:
    stopped = []
    for own, other in (("a", "b"), ("b", "a")):
        rivals = DuplicateDetector(own)
        rivals.must_stop(own)
        stopped.append(heard(rivals, other, EQUAL_PATIENCE)[-1])
    assert stopped == [False, True]
