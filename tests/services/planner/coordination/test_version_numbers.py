from dataclasses import replace

from services.planner.coordination.version_numbers import (
    MAX_VERSIONS,
    next_version,
    superfluous_versions,
    versions_of,
)
from services.planner.problems.snapshot import FleetSnapshot, apply
from tests.support.planner_fleet import manifest_of

FIRST = manifest_of()


def described(*manifests: object) -> FleetSnapshot:
    snapshot = FleetSnapshot()
    for manifest in manifests:
        snapshot = apply(snapshot, manifest, 0.0)  # type: ignore[arg-type]  # only manifests are given
        snapshot = apply(snapshot, next_version(snapshot, manifest, 0.0), 0.0)  # type: ignore[arg-type]
    return snapshot


def test_versions_are_counted_by_name_over_all_files() -> None:
    snapshot = described(FIRST, manifest_of("b" * 64), manifest_of("c" * 64, name="other"))
    assert [(each.number, each.model[0]) for each in versions_of(snapshot, "net")] == [(1, FIRST.model[0]), (2, "b")]
    assert [each.number for each in versions_of(snapshot, "other")] == [1]


def test_a_version_under_a_new_name_gets_a_number_of_that_name() -> None:
    snapshot = described(FIRST, manifest_of(apply_softmax=True))
    renamed = next_version(snapshot, FIRST.model_copy(update={"name": "fresh"}), 5.0)
    assert (renamed.number, renamed.version) == (1, FIRST.version())


def test_a_corrected_provider_is_no_new_version() -> None:
    snapshot = described(FIRST)
    again = next_version(snapshot, FIRST.model_copy(update={"provider": "other"}), 5.0)
    assert (again.number, again.added_at_s) == (1, 0.0)


def test_the_oldest_spare_versions_are_superfluous() -> None:
    manifests = [manifest_of(labels=(str(number),)) for number in range(MAX_VERSIONS + 4)]
    snapshot = described(*manifests)
    oldest = manifests[0].version()
    assert [each.number for each in superfluous_versions(snapshot, "net", ())] == [1, 2, 3]
    assert [each.number for each in superfluous_versions(snapshot, "net", {oldest})] == [2, 3]
    assert superfluous_versions(replace(snapshot, versions={}), "net", ()) == []
