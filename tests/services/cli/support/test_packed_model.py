from pathlib import Path

import numpy as np
import onnx
import pytest

from services.cli.support.manifest import build_manifest
from services.cli.support.packed_model import packed_model
from shared.model.errors import ExternalDataError
from tests.support.onnx_texts import onnx_bytes


def two_files(folder: Path) -> Path:
    """Return a model in the two files that torch exports."""
    text = "g (float[1,4] x) => (float[1,4] y) {y = MatMul(x, w)}"
    model = onnx.load_model_from_string(onnx_bytes(text, w=np.eye(4, dtype=np.float32)))
    path = folder / "net.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="net.onnx.data", size_threshold=0)
    return path


def test_two_files_become_one_for_the_time_of_a_command(tmp_path: Path) -> None:
    path = two_files(tmp_path)
    with packed_model(path) as packed:
        manifest = build_manifest(packed.file, model=packed.content)
        assert manifest.name == "net"
        assert manifest.size_bytes == packed.file.stat().st_size
        assert manifest.model == build_manifest(packed.file).model
    assert not packed.file.exists()
    assert path.exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = two_files(tmp_path)
    (tmp_path / "net.onnx.data").unlink()
    with pytest.raises(ExternalDataError, match=r"net\.onnx\.data"), packed_model(path):
        pass
