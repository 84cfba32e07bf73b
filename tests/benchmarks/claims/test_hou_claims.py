"""Claims of DistrEdge that are quick to compute again."""

from benchmarks.claims.hou_claims import volumes_by_alpha


def test_vgg16_has_about_the_published_volumes() -> None:
    claim = volumes_by_alpha()
    assert claim.holds
    assert claim.seen == "14 at 0, 9 at 0.25, 8 at 0.5, 6 at 0.75, 2 at 1"
