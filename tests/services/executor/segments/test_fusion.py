"""Which segments encode in their own graph, and that they make the bytes that encoding outside makes."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import services.cli.data
from services.cli.support.manifest import build_manifest
from services.executor.feature_maps import FeatureMap, encode_tensors
from services.executor.segments.coding import Coder
from services.executor.segments.engine import EngineSettings
from services.executor.segments.fusion import MAX_FUSED_PARAMETER_BYTES, fused_encoding, representation_of
from services.executor.segments.segment import REQUEST_TENSOR, Segment, build_segments
from services.executor.segments.segment_events import SegmentKey
from services.executor.stage_runner import StageJob
from shared.codecs import Array, CodecError, load_registry
from shared.messages.models import Manifest, ManifestBlock, Preprocessing
from shared.messages.requests import FeatureMapHeader
from shared.messages.streams import PlanStage
from shared.model.architectures import build
from shared.model.onnx_file import write_onnx

ENGINE = EngineSettings()
CODECS = ("float16", "float16+zstd", "uint8", "uint8+zstd", "sparse8", "sparse8+zstd", "uint4", "uint4+zstd")


@pytest.fixture(scope="module")
def coder() -> Coder:
    return Coder(load_registry(), ENGINE)


def manifest_of(*blocks: tuple[int, int]) -> Manifest:
    """Make the manifest of a model whose blocks have these output and parameter bytes."""
    described = [
        ManifestBlock(name=str(index), output_bytes=output_bytes, parameter_bytes=parameter_bytes)
        for index, (output_bytes, parameter_bytes) in enumerate(((10**6, 0), *blocks))
    ]
    return Manifest(model="0" * 64, name="m", size_bytes=1, inputs=(), outputs=(), blocks=tuple(described))


@pytest.mark.parametrize(
    ("codec", "block", "encoding"),
    [
        ("uint8", (16384, 10), "uint8"),
        ("uint8+zstd", (16384, 10), "uint8"),
        ("sparse8+zstd", (16384, 10), "uint8"),
        ("uint4", (16384, 10), "uint4"),
        ("float16+zstd", (16384, 10), "float16"),
        ("raw", (16384, 10), ""),
        ("raw+zstd", (16384, 10), ""),
        ("a-users-own", (16384, 10), ""),
        ("uint8", (16380, 10), ""),
        ("uint8", (16384, MAX_FUSED_PARAMETER_BYTES), "uint8"),
        ("uint8", (16384, MAX_FUSED_PARAMETER_BYTES + 1), ""),
    ],
)
def test_fusion_is_for_large_tensors_behind_few_weights(codec: str, block: tuple[int, int], encoding: str) -> None:
    assert fused_encoding(codec, manifest_of(block, (40, 0)), 0, 2, ENGINE) == encoding


def test_neither_prepare_alone_nor_another_processor_encodes_in_its_graph() -> None:
    manifest = manifest_of((16384, 10))
    assert fused_encoding("uint8", manifest, 0, 1, ENGINE) == ""
    assert fused_encoding("uint8", manifest, 0, 2, EngineSettings("CUDAExecutionProvider")) == ""
    assert fused_encoding("uint8", manifest, 5, 9, ENGINE) == ""


@pytest.fixture(scope="module", params=["squeezenet1.1", "resnet18", "mobilenetv2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """Return a trained network, and two seeded ones whose cuts are crossed by one and by two tensors."""
    folder = Path(str(resources.files(services.cli.data)))
    path = folder / f"{request.param}.onnx"
    if not path.is_file():
        path = tmp_path_factory.mktemp("models") / path.name
        write_onnx(build(request.param), path)
    return path, build_manifest(path, preprocessing=Preprocessing(kind="image", mean=(120.0,) * 3, scale=(60.0,) * 3))


def photograph() -> dict[str, Array]:
    folder = Path(str(resources.files(services.cli.data))) / "photos"
    data = min(folder.glob("*.jpg")).read_bytes()
    return {REQUEST_TENSOR: np.frombuffer(data, np.uint8)}


def pair(model: tuple[Path, Manifest], start: int, stop: int, encoding: str) -> tuple[Segment, Segment]:
    """Return the same blocks without and with an encoder."""
    path, manifest = model
    keys = (SegmentKey(manifest.model, start, stop), SegmentKey(manifest.model, start, stop, encoding))
    plain, fused = build_segments(path, manifest, keys, ENGINE).values()
    return plain, fused


@pytest.mark.parametrize("share", [0.15, 0.4, 0.7])
def test_a_fused_segment_makes_the_same_bytes(model: tuple[Path, Manifest], share: float, coder: Coder) -> None:
    manifest = model[1]
    stop = max(2, round(share * len(manifest.blocks)))
    request = photograph()
    for encoding in ("float16", "uint8", "uint4"):
        plain, fused = pair(model, 0, stop, encoding)
        expected = plain.run(request)
        assert {name: array.tobytes() for name, array in fused.run(request).items()} == {
            name: array.tobytes() for name, array in expected.items()
        }
        for codec in (other for other in CODECS if representation_of(other) == encoding):
            encoder = fused.encoder_for(codec)
            assert encoder is not None
            assert encoder.operators_ms > 0
            made = fused.run(request, encoded=True, plain=False)
            assert not made.keys() & expected.keys()
            outside = encode_tensors(expected, codec, coder)
            for name, spec in encoder.outputs.items():
                inside = coder.pack(made, name, spec, codec)
                assert inside.codec == outside[name].codec == codec
                assert bytes(inside.payload()) == bytes(outside[name].payload())


def test_a_segment_encodes_for_its_own_representation_only(tmp_path: Path, coder: Coder) -> None:
    path = tmp_path / "tiny.onnx"
    write_onnx(build("tiny"), path)
    plain, fused = pair((path, build_manifest(path)), 1, 2, "uint8")
    assert plain.encoder_for("uint8") is None
    assert fused.encoder_for("uint8+zstd") is fused.encoder_for("sparse8") is fused.encoder
    assert fused.encoder_for("float16") is None
    assert fused.encoder_for("raw") is None
    assert fused.encoder is not None
    ((name, spec),) = fused.encoder.outputs.items()
    made = fused.run({"input": np.full((1, 3, 32, 32), np.nan, np.float32)}, encoded=True)
    with pytest.raises(CodecError, match="not finite"):
        coder.pack(made, name, spec, "uint8")


@pytest.mark.parametrize("keeps_arrays", [False, True])
def test_a_stage_counts_its_encoding_and_keeps_what_a_check_wants(
    tmp_path: Path, coder: Coder, keeps_arrays: bool
) -> None:
    path = tmp_path / "tiny.onnx"
    write_onnx(build("tiny"), path)
    plain, fused = pair((path, build_manifest(path)), 0, 2, "uint8")
    stages = (PlanStage(start=0, stop=2, device="a", codec="uint8+zstd"), PlanStage(start=2, stop=8, device="b"))
    header = FeatureMapHeader(
        transfer_id="t",
        sender="a",
        request_id="r",
        stream="s",
        model=fused.key.model,
        epoch=1,
        attempt=1,
        stages=stages,
        stage=0,
        tensors=(),
        source="a",
        accepted_at_s=0.0,
        dispatched_at_s=0.0,
    )
    request = {REQUEST_TENSOR: np.random.default_rng(0).standard_normal(3 * 32 * 32).astype(np.float32).view(np.uint8)}
    job = StageJob(fused, FeatureMap(header, request), coder, "b", "a", keeps_arrays=keeps_arrays)
    made = job()
    assert fused.encoder is not None
    assert job.codec_ms > fused.encoder.operators_ms
    expected = plain.run(request)
    kept = {name: array.tobytes() for name, array in made.arrays.items()}
    assert kept == ({name: array.tobytes() for name, array in expected.items()} if keeps_arrays else {})
    outside = encode_tensors(expected, "uint8+zstd", coder)
    assert {name: bytes(tensor.payload()) for name, tensor in made.encoded.items()} == {
        name: bytes(tensor.payload()) for name, tensor in outside.items()
    }


def test_what_the_graph_cannot_encode_is_encoded_outside(tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    write_onnx(build("tiny"), path)
    key = SegmentKey("0" * 64, 1, 2, "zip")
    (segment,) = build_segments(path, build_manifest(path), (key,), ENGINE).values()
    assert segment.encoder is None
    assert segment.run({"input": np.zeros((1, 3, 32, 32), np.float32)})
