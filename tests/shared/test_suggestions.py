import pytest

from shared.suggestions import closest_name


@pytest.mark.parametrize(
    ("name", "guessed"),
    [("shortest_pat", " (did you mean shortest_path?)"), ("Milp", " (did you mean milp?)"), ("x", "")],
)
def test_the_nearest_name_is_guessed_if_one_is_near(name: str, guessed: str) -> None:
    assert closest_name(name, ("milp", "shortest_path", "auto")) == guessed


def test_where_nothing_is_known_nothing_is_guessed() -> None:
    assert closest_name("auto", ()) == ""
