"""A model file is split at cuts, verified, and written with a description."""

import json
from pathlib import Path

import pytest

from shared.model.architectures import build
from shared.model.errors import CutError, ModelFileError
from shared.model.onnx_file import load_model, split, write_onnx


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_onnx(build("tiny"), tmp_path / "tiny.onnx")
    return tmp_path / "tiny.onnx"


def test_segments_chain_to_the_whole_model(file: Path) -> None:
    result = split(file, [2, 5])
    assert result.bounds == ((0, 2), (2, 5), (5, 7))
    assert result.report.bit_exact_extended
    assert result.model.sha256 == load_model(file).sha256


def test_the_description_names_files_blocks_and_tensors(file: Path, tmp_path: Path) -> None:
    result = split(file, [2])
    result.write(tmp_path / "new" / "segments")
    description = json.loads((tmp_path / "new" / "segments" / "split.json").read_text())
    assert description["model"] == {"file": "tiny.onnx", "sha256": result.model.sha256}
    first, second = description["segments"]
    assert (first["inputs"], first["outputs"], first["blocks"]) == (["input"], ["pool1"], [0, 2])
    assert (second["inputs"], second["outputs"], second["blocks"]) == (["pool1"], ["fc"], [2, 7])
    for entry, data in zip(description["segments"], result.segments, strict=True):
        assert (tmp_path / "new" / "segments" / entry["file"]).read_bytes() == data
        assert entry["size_bytes"] == len(data)


def test_cuts_and_files_that_do_not_exist(file: Path, tmp_path: Path) -> None:
    with pytest.raises(CutError, match="cut 7 does not exist"):
        split(file, [7])
    with pytest.raises(ModelFileError):
        split(tmp_path / "missing.onnx", [1])
