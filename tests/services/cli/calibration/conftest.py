"""A small model, and photographs to calibrate it with."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.model.architectures.catalogue import build
from shared.model.onnx_file import write_onnx


@pytest.fixture(scope="package")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / "tiny.onnx"
    write_onnx(build("tiny", 3), file)
    return file


@pytest.fixture(scope="package")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(5)
    for name in ("one.png", "two.jpg"):
        coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        coarse.resize((160, 120), Image.Resampling.BICUBIC).save(folder / name)
    (folder / "notes.txt").write_text("not a picture")
    return folder
