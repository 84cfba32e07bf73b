from pathlib import Path

import numpy as np
import onnx

from services.cli.support.manifest import build_manifest, read_model
from services.cli.support.published_model import publish_into, published_model
from shared.bus.model_files.pieces import ByteRange, PieceDigests
from shared.messages.models import Manifest
from tests.support.onnx_texts import onnx_bytes


def two_files(folder: Path) -> Path:
    """Return a model in the two files that torch exports."""
    text = "g (float[1,4] x) => (float[1,4] y) {y = MatMul(x, w)}"
    model = onnx.load_model_from_string(onnx_bytes(text, w=np.eye(4, dtype=np.float32)))
    path = folder / "net.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="net.onnx.data", size_threshold=0)
    return path


def test_weights_of_two_files_are_in_one_for_the_time_of_a_command(tmp_path: Path) -> None:
    path = two_files(tmp_path)
    content = read_model(path)
    manifest = build_manifest(path, model=content)
    assert manifest.name == "net"
    with published_model(path, manifest, content) as packed:
        assert packed.manifest.size_bytes == packed.file.stat().st_size
        assert packed.manifest.model == manifest.model == content.sha256
        pieces = PieceDigests.of(packed.manifest)
        assert pieces.damaged(packed.file, [ByteRange(0, pieces.size_bytes)]) == ()
        again = Manifest.decode(packed.manifest.encode())
        assert again == packed.manifest
    assert not packed.file.exists()
    assert path.exists()


def test_one_model_is_packed_the_same_every_time(tmp_path: Path) -> None:
    path = two_files(tmp_path)
    content = read_model(path)
    manifest = build_manifest(path, model=content)
    (tmp_path / "again").mkdir()
    one, two = (publish_into(folder, path, manifest, content) for folder in (tmp_path, tmp_path / "again"))
    assert one.manifest == two.manifest
    assert one.manifest.file_id == two.manifest.file_id != manifest.file_id
