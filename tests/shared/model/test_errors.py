import pytest

from shared.model import errors


def test_a_message_is_one_line() -> None:
    assert str(errors.ModelError("first\n  second\tthird ")) == "first second third"


@pytest.mark.parametrize(
    "error", [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
)
def test_all_errors_are_model_errors_and_in_the_drawing(error: type[Exception]) -> None:
    assert issubclass(error, errors.ModelError)
    assert error.__name__ in errors.__doc__
