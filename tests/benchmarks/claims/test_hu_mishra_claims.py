"""Claims of Hu & Mishra that are quick to compute again."""

from benchmarks.claims.hu_mishra_claims import server_times, sizes, utilisation_as_printed


def test_sizes_and_server_times_hold() -> None:
    assert sizes().holds
    assert server_times().holds


def test_the_printed_loop_keeps_less_at_the_source() -> None:
    claim = utilisation_as_printed()
    assert claim.holds
    assert claim.seen.startswith("0% instead of")
