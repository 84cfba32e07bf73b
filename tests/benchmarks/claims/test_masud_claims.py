"""Claims of Masud's proposal that are quick to compute again."""

from benchmarks.claims.masud_claims import best_splits, pipelining


def test_pipelining_pays_but_no_more_than_two_stages_can() -> None:
    claim = pipelining()
    assert claim.holds
    assert 1.5 <= float(claim.seen.split()[0]) <= 3


def test_most_of_the_measured_best_splits_are_within_one_block() -> None:
    assert best_splits().seen.startswith("5 of 6")
