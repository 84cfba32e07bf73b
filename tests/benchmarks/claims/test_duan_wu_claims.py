"""Claims of Duan & Wu that are quick to compute again."""

import pytest

from benchmarks.claims.duan_wu_claims import example, johnson, synthetic_alexnet, table_1


def test_the_worked_example_and_johnsons_rule_hold() -> None:
    assert example().holds
    assert example().seen == "38.9 and 46.7 ms"
    assert johnson().holds


def test_jps_as_printed_is_beaten_on_fitted_curves() -> None:
    claim = synthetic_alexnet()
    assert not claim.holds
    assert "beaten for 2, 3, 4, 6, 8 of 2, 3, 4, 6, 8 jobs" in claim.seen


@pytest.mark.parametrize(("place", "model", "holds"), [(0, "alexnet", False)])
def test_table_1_is_read_as_printed_with_jobs_of_po_one_after_the_other(place: int, model: str, holds: bool) -> None:
    claims = table_1()
    claim = next(claim for index, claim in enumerate(claims) if index == place)
    assert claim.source.endswith(model)
    assert claim.holds is holds
    # The other readings stand beside it: AlexNet fits with PO in a pipeline and the exact ratio.
    assert "mean difference 9.9 points" in claim.seen
    assert "2.2 with both" in claim.seen
