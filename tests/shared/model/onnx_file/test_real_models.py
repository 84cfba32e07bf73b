"""The nine architectures that come with the `onnx` package: their weights are placeholders."""

from pathlib import Path

import onnx
import pytest

from shared.model.cuts import all_cuts
from shared.model.materialise import materialise_weights, without_softmax
from shared.model.onnx_file import extract_segment, load_model, to_bytes, verify_chain
from shared.model.partitioned_model import PartitionedModel

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
CUTS = {
    "bvlc_alexnet": (23, 11),
    "densenet121": (87, 67),
    "inception_v1": (25, 18),
    "inception_v2": (30, 17),
    "resnet50": (39, 20),
    "shufflenet": (39, 20),
    "squeezenet": (33, 22),
    "vgg19": (45, 24),
    "zfnet512": (21, 11),
}
SMALL = ["densenet121", "inception_v1", "inception_v2", "shufflenet", "squeezenet"]


def load(name: str) -> PartitionedModel:
    return load_model(FOLDER / f"light_{name}.onnx")


def test_all_nine_are_there() -> None:
    assert sorted(path.name for path in FOLDER.glob("*.onnx")) == sorted(f"light_{name}.onnx" for name in CUTS)


@pytest.mark.parametrize(("name", "cuts"), CUTS.items())
def test_numbers_of_cuts(name: str, cuts: tuple[int, int]) -> None:
    model = load(name)
    assert (len(all_cuts(model.partition.live, 1)), len(model.analysis.cuts)) == cuts
    assert [tensor.shape for tensor in model.analysis.input] == [(1, 3, 224, 224)]
    assert all(len(cut.tensors) == 1 for cut in model.analysis.cuts)


@pytest.mark.parametrize(
    ("name", "mega_parameters", "giga_flops"), [("vgg19", 143.67, 39.26), ("squeezenet", 1.24, 0.70)]
)
def test_costs(name: str, mega_parameters: float, giga_flops: float) -> None:
    blocks = load(name).analysis.blocks
    assert sum(block.parameter_bytes for block in blocks) / 4e6 == pytest.approx(mega_parameters, abs=0.01)
    assert sum(block.flops for block in blocks) / 1e9 == pytest.approx(giga_flops, abs=0.01)


@pytest.mark.parametrize("name", CUTS)
def test_segments_repeat_the_placeholders_instead_of_storing_weights(name: str) -> None:
    model = load(name)
    middle = model.partition.block_count // 2
    for segment in (extract_segment(model, 0, middle), extract_segment(model, middle, middle + 1)):
        onnx.checker.check_model(segment, full_check=True)
        assert len(segment) < 200_000


@pytest.mark.parametrize("name", SMALL)
def test_chains_of_blocks_are_exact_where_kernels_allow_it(name: str) -> None:
    data = to_bytes(without_softmax(materialise_weights(load(name).graph, seed=7)))
    model = load_model(data)
    assert "ConstantOfShape" not in {node.op_type for node in model.graph.nodes}
    segments = [extract_segment(model, index, index + 1) for index in range(model.partition.block_count)]
    report = verify_chain(data, segments, model.analysis.input)
    assert report.bit_exact_extended
    assert report.max_rel_error < 1e-5


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet"])
def test_cuts_of_several_tensors_are_exact(name: str) -> None:
    data = to_bytes(without_softmax(materialise_weights(load(name).graph, seed=7)))
    model = load_model(data, max_cut_tensors=3)
    assert max(len(cut.tensors) for cut in model.analysis.cuts) > 1
    segments = [extract_segment(model, index, index + 1) for index in range(model.partition.block_count)]
    assert verify_chain(data, segments, model.analysis.input).bit_exact_extended
