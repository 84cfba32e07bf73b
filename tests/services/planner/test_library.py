"""The queue of models that the library fetches; transfers over a broker are tested end to end."""

from pathlib import Path

import pytest

from services.planner.coordination.effects import FetchModel
from services.planner.library import Library
from shared.bus.settings import BusSettings
from shared.messages.models import Manifest
from tests.support.planner_fleet import MODEL, manifest_of

CAPACITY = 32


class Refusals:
    """The models that could not be fetched, with the reasons."""

    def __init__(self) -> None:
        self.reasons: list[tuple[str, str]] = []

    async def stored(self, manifest: Manifest) -> None:
        raise AssertionError(f"{manifest.name} was stored without a transfer")

    async def failed(self, manifest: Manifest, reason: str) -> None:
        self.reasons.append((manifest.model, reason))


@pytest.fixture
def refusals() -> Refusals:
    return Refusals()


@pytest.fixture
def library(tmp_path: Path, refusals: Refusals) -> Library:
    return Library(tmp_path, BusSettings(host="127.0.0.1"), "planner", refusals.stored, refusals.failed)


def offer(number: int) -> FetchModel:
    return FetchModel(manifest_of(f"{number:064x}"), "cli")


async def test_one_model_too_many_is_refused(library: Library, refusals: Refusals) -> None:
    for number in range(CAPACITY + 1):
        await library.fetch(offer(number))
    assert refusals.reasons == [(f"{CAPACITY:064x}", f"{CAPACITY} models are waiting already")]


async def test_a_second_offer_of_a_model_takes_no_second_place(library: Library, refusals: Refusals) -> None:
    for number in range(CAPACITY):
        await library.fetch(offer(number))
    await library.fetch(offer(0))
    assert refusals.reasons == []


def test_only_a_file_that_exists_is_located(library: Library, tmp_path: Path) -> None:
    assert library.path(MODEL) == tmp_path / f"{MODEL}.onnx"
    assert library.locate(MODEL) is None
    library.path(MODEL).write_bytes(b"model")
    assert library.locate(MODEL) == library.path(MODEL)
