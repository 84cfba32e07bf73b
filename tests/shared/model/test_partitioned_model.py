import subprocess
import sys

import pytest

from shared.model.analysis import ModelAnalysis
from shared.model.architectures import build
from shared.model.partitioned_model import build_model


def analysis(name: str, max_cut_tensors: int = 1) -> ModelAnalysis:
    return build_model(build(name), sha256="f" * 64, max_cut_tensors=max_cut_tensors).analysis


def test_blocks_of_a_small_network() -> None:
    blocks = analysis("tiny").blocks
    assert [block.operators for block in blocks] == [
        ("Conv", "BatchNormalization", "Relu"),
        ("MaxPool",),
        ("Conv", "BatchNormalization", "Relu", "Conv", "BatchNormalization", "Add", "Relu"),
        ("Conv", "Relu"),
        ("MaxPool",),
        ("GlobalAveragePool", "Flatten"),
        ("Gemm",),
    ]
    assert [block.tileable for block in blocks] == [True] * 5 + [False] * 2
    stem = blocks[0]
    assert stem.name == "stem.conv"
    assert stem.output_bytes == 4 * 8 * 32 * 32
    assert stem.flops == 2 * 8 * 3 * 9 * 32 * 32
    assert stem.parameter_bytes == 4 * (8 * 3 * 9 + 4 * 8)
    assert stem.peak_activation_bytes == 2 * stem.output_bytes


def test_the_shortcut_counts_as_memory() -> None:
    residual = analysis("tiny").blocks[2]
    assert residual.peak_activation_bytes == 3 * 4 * 8 * 16 * 16


def test_cuts_lie_before_their_block() -> None:
    tiny = analysis("tiny")
    assert [cut.index for cut in tiny.cuts] == [1, 2, 3, 4, 5, 6]
    for cut in tiny.cuts:
        assert cut.size_bytes == tiny.blocks[cut.index - 1].output_bytes == sum(t.size_bytes for t in cut.tensors)
    assert [tensor.name for tensor in tiny.cuts[1].tensors] == ["pool1"]
    assert [tensor.name for tensor in tiny.outputs] == ["fc"]
    assert tiny.sha256 == "f" * 64


def test_analysis_needs_no_onnx() -> None:
    names = ("partitioned_model", "segment_graph", "materialise", "architectures")
    modules = ", ".join(f"shared.model.{name}" for name in names)
    program = f"import sys, {modules}; print(sorted({{'onnx', 'onnxruntime', 'google.protobuf'}} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == "[]"


def test_names_of_blocks_are_unique() -> None:
    names = [block.name for block in analysis("googlenet", max_cut_tensors=4).blocks]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_costs_do_not_depend_on_the_number_of_cuts(k: int) -> None:
    one, many = analysis("resnet18"), analysis("resnet18", max_cut_tensors=k)
    assert sum(block.flops for block in one.blocks) == sum(block.flops for block in many.blocks)
    assert sum(block.parameter_bytes for block in one.blocks) == sum(block.parameter_bytes for block in many.blocks)
    assert max(b.peak_activation_bytes for b in one.blocks) == max(b.peak_activation_bytes for b in many.blocks)
