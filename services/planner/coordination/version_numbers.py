"""Versions of models in the library: how they are numbered, and which ones are dropped."""

from collections.abc import Collection

from services.planner.problems.snapshot import FleetSnapshot
from shared.messages.models import Manifest, ModelVersion

# Versions of one name that the library keeps beside those in use.
MAX_VERSIONS = 16


def next_version(snapshot: FleetSnapshot, manifest: Manifest, now_s: float) -> ModelVersion:
    """Return the version of a manifest: the one that it has already, or a new one with the next number of its name."""
    key = manifest.version()
    known = snapshot.versions.get(key)
    if known is not None and known.manifest.name == manifest.name:
        return known.model_copy(update={"manifest": manifest, "published_at_s": now_s})
    number = 1 + max((each.number for each in versions_of(snapshot, manifest.name)), default=0)
    return ModelVersion(
        model=manifest.model,
        version=key,
        number=number,
        added_at_s=now_s,
        published_at_s=now_s,
        manifest=manifest,
    )


def versions_of(snapshot: FleetSnapshot, name: str) -> list[ModelVersion]:
    """Return the versions of a name, the oldest first."""
    own = (each for each in snapshot.versions.values() if each.manifest.name == name)
    return sorted(own, key=lambda each: each.number)


def superfluous_versions(snapshot: FleetSnapshot, name: str, in_use: Collection[str]) -> list[ModelVersion]:
    """Return the oldest versions of a name beyond `MAX_VERSIONS`, without those in use and the newest of each file."""
    newest = {manifest.version() for manifest in snapshot.manifests.values()}
    spare = [each for each in versions_of(snapshot, name) if each.version not in in_use and each.version not in newest]
    return spare[: max(0, len(spare) - MAX_VERSIONS)]
