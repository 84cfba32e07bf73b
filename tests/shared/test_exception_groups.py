"""Errors of nested exception groups, and the one error in a group of one."""

from shared.exception_groups import errors_in, only_error

ONE, TWO, THREE = ValueError("one"), KeyError("two"), OSError("three")


def test_the_errors_of_nested_groups_come_in_order() -> None:
    group = ExceptionGroup("", [ONE, ExceptionGroup("", [TWO, ExceptionGroup("", [THREE])])])
    assert errors_in(group) == [ONE, TWO, THREE]


def test_an_error_alone_is_taken_out_of_all_its_groups() -> None:
    assert only_error(ExceptionGroup("", [ExceptionGroup("", [ONE])])) is ONE


def test_several_errors_stay_in_their_group() -> None:
    several = ExceptionGroup("", [ONE, TWO])
    assert only_error(several) is several
    assert only_error(ExceptionGroup("", [several])) is several


def test_a_cancellation_is_an_error_as_well() -> None:
    stop = KeyboardInterrupt()
    assert only_error(BaseExceptionGroup("", [stop])) is stop
