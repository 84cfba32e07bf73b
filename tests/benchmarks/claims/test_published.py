"""Figures of the papers fit together."""

from benchmarks.claims.published import NETWORKS_MBPS, PI4_BEST_SPLIT, PI4_HEAD_MS, PI4_WHOLE_MS, REDUCTIONS_PERCENT


def test_every_model_has_all_its_figures() -> None:
    assert PI4_HEAD_MS.keys() == PI4_WHOLE_MS.keys() == PI4_BEST_SPLIT.keys()
    assert all(split <= len(PI4_HEAD_MS[name]) for name, split in PI4_BEST_SPLIT.items())


def test_every_network_has_its_reductions() -> None:
    assert all(row.keys() == NETWORKS_MBPS.keys() for row in REDUCTIONS_PERCENT.values())
