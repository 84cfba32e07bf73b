"""A small real model in a store that already has its file."""

from pathlib import Path

import pytest

from services.cli.support.manifest import build_manifest
from services.executor.segments.model_cache import ModelCache
from shared.bus.settings import BusSettings
from shared.messages.models import Manifest, OutputKind, Preprocessing
from shared.model.architectures import build
from shared.model.onnx_file import write_onnx


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """A classifier of photographs whose file lies in the store's folder."""
    path = tmp_path / "tiny.onnx"
    write_onnx(build("tiny"), path)
    manifest = build_manifest(path, preprocessing=Preprocessing(kind="image"), output=OutputKind.CLASSIFICATION)
    folder = tmp_path / "models"
    folder.mkdir()
    path.rename(folder / f"{manifest.model}.onnx")
    return manifest


@pytest.fixture
def store(tmp_path: Path) -> ModelCache:
    """The store; its broker is never needed as long as the file is there."""
    return ModelCache(tmp_path / "models", "d", BusSettings(port=1))
