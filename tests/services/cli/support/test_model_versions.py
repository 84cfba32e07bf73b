import pytest

from services.cli.support.model_versions import chosen_version, current_version, differences, named_versions
from shared.exit_status import InputError
from shared.messages.models import Manifest, ModelVersion
from tests.support.planner_fleet import manifest_of

FIRST, SECOND = manifest_of(), manifest_of(apply_softmax=True)
OTHER = manifest_of("b" * 64)


def version(number: int, manifest: Manifest, published_at_s: float = 0.0) -> ModelVersion:
    return ModelVersion(
        model=manifest.model,
        version=manifest.version(),
        number=number,
        added_at_s=0.0,
        published_at_s=published_at_s,
        manifest=manifest,
    )


OWN = [version(1, FIRST, 5.0), version(2, SECOND, 1.0), version(3, OTHER, 2.0)]


def test_versions_are_found_by_name_and_by_file() -> None:
    assert named_versions(reversed(OWN), "net") == OWN
    assert named_versions(OWN, "b" * 64) == OWN[2:]
    with pytest.raises(InputError, match="no model door: there are net"):
        named_versions(OWN, "door")
    with pytest.raises(InputError, match="no model door: it has none"):
        named_versions([], "door")


def test_a_version_is_meant_by_its_number_or_its_digest() -> None:
    assert chosen_version(OWN, "2") == OWN[1]
    assert chosen_version(OWN, OWN[2].version[:6]) == OWN[2]
    for text in ("4", "", OWN[0].version[:3], "ffff"):
        with pytest.raises(InputError, match="there is no version"):
            chosen_version(OWN, text)


def test_the_version_that_was_published_last_is_current() -> None:
    assert current_version(OWN, {FIRST.model: FIRST, OTHER.model: OTHER}) == OWN[0]
    # Of one file, the retained manifest decides.
    assert current_version(OWN, {SECOND.model: SECOND, OTHER.model: OTHER}) == OWN[2]
    assert current_version(OWN, {}) is None


def test_differences_are_named() -> None:
    assert differences(FIRST, FIRST) == ()
    assert differences(FIRST, SECOND) == ("output kind",)
    assert differences(FIRST, OTHER) == ("file",)
    larger = FIRST.inputs[0].model_copy(update={"shape": (1, 3, 448, 448)})
    changed = FIRST.model_copy(update={"inputs": (larger,), "labels": ("a",), "max_cut_tensors": 2})
    assert differences(FIRST, changed) == ("input shape", "cuts", "labels")
