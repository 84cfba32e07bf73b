"""Claims of Duan & Wu that are quick to compute again."""

from benchmarks.claims.duan_wu_claims import example, johnson, mixing


def test_the_worked_example_and_johnsons_rule_hold() -> None:
    assert example().holds
    assert example().seen == "38.9 and 46.7 ms"
    assert johnson().holds


def test_the_closed_form_of_the_number_of_jobs_agrees_with_the_search() -> None:
    assert mixing().holds
    assert mixing().seen.startswith("50 ")
