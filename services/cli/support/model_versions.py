"""Versions of a model as an operator sees them: which one is meant, and what differs between two."""

from collections.abc import Callable, Collection, Iterable, Mapping

from shared.exit_status import InputError
from shared.messages.models import Manifest, ModelVersion

# What may differ between two manifests, in the words of `segue model list`.
_ASPECTS: Mapping[str, Callable[[Manifest], object]] = {
    "file": lambda manifest: manifest.model,
    "input shape": lambda manifest: manifest.inputs,
    "outputs": lambda manifest: manifest.outputs,
    "cuts": lambda manifest: (len(manifest.blocks), manifest.max_cut_tensors),
    "preprocessing": lambda manifest: manifest.preprocessing,
    "labels": lambda manifest: manifest.labels,
    "output kind": lambda manifest: (manifest.output_kind, manifest.apply_softmax),
}


def named_versions(versions: Iterable[ModelVersion], name: str) -> list[ModelVersion]:
    """Return the versions of a name, or of a file by its SHA-256, the oldest first.

    Raises:
        InputError: there are none.
    """
    listed = list(versions)
    own = [each for each in listed if name in (each.manifest.name, each.model)]
    if not own:
        names = ", ".join(sorted({each.manifest.name for each in listed}))
        raise InputError(f"the fleet has no model {name}: {f'there are {names}' if names else 'it has none'}")
    return sorted(own, key=lambda each: each.number)


def chosen_version(own: Collection[ModelVersion], text: str) -> ModelVersion:
    """Return the version that a number or the first digits of a digest mean.

    Args:
        own: the versions of one name.
        text: such as `2` or `3f9a`.

    Raises:
        InputError: it means none of them, or several.
    """
    found = [each for each in own if str(each.number) == text]
    if not found and len(text) >= 4:
        found = [each for each in own if each.version.startswith(text)]
    if len(found) != 1:
        numbers = ", ".join(str(each.number) for each in own)
        raise InputError(f"there is {'no' if not found else 'more than one'} version {text}: versions are {numbers}")
    return found[0]


def current_version(own: Collection[ModelVersion], manifests: Mapping[str, Manifest]) -> ModelVersion | None:
    """Return the version that streams take which keep none: that of the manifest published last.

    Args:
        own: the versions of one name.
        manifests: the newest one of every file, by SHA-256.
    """
    published = [each for each in own if _is_published(each, manifests.get(each.model))]
    return max(published, key=lambda each: each.published_at_s, default=None)


def _is_published(version: ModelVersion, manifest: Manifest | None) -> bool:
    return manifest is not None and manifest.version() == version.manifest.version()


def differences(before: Manifest, after: Manifest) -> tuple[str, ...]:
    """Return what differs between two descriptions, in words."""
    return tuple(name for name, aspect in _ASPECTS.items() if aspect(before) != aspect(after))
