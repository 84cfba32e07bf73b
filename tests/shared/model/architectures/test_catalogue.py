import pytest

from shared.model.analysis import ModelAnalysis
from shared.model.architectures import ARCHITECTURES, build
from shared.model.errors import UnknownArchitectureError
from shared.model.node_cost import parameter_count
from shared.model.onnx_file import load_model, to_bytes
from shared.model.partitioned_model import build_model
from shared.model.weights import Recipe, Uniform


def analysis(name: str) -> ModelAnalysis:
    return build_model(build(name), sha256="").analysis


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("alexnet", 61_100_840),
        ("vgg16", 138_357_544),
        ("resnet18", 11_689_512),
        ("resnet50", 25_557_032),
        ("mobilenetv2", 3_504_872),
        ("squeezenet", 1_235_496),
        ("googlenet", 6_624_904),
        ("inceptionv3", 23_834_568),
    ],
)
def test_parameters_are_as_many_as_torchvisions(name: str, parameters: int) -> None:
    assert parameter_count(build(name)) == parameters


def test_yolov2_has_as_many_numbers_as_darknets_weights_file() -> None:
    assert sum(weight.tensor.elements for weight in build("yolov2").weights.values()) == 50_983_561


@pytest.mark.parametrize(
    ("name", "giga_multiply_accumulates"),
    [
        ("alexnet", 0.71419),
        ("vgg16", 15.47026),
        ("resnet18", 1.81407),
        ("resnet50", 4.08918),
        ("mobilenetv2", 0.30077),
        ("squeezenet", 0.34915),
        ("googlenet", 1.49838),
        ("inceptionv3", 5.71322),
        ("yolov2", 14.73208),
    ],
)
def test_multiply_accumulates(name: str, giga_multiply_accumulates: float) -> None:
    flops = sum(block.flops for block in analysis(name).blocks)
    assert flops / 2e9 == pytest.approx(giga_multiply_accumulates, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "mega_multiply_accumulates"),
    [
        ("alexnet", [70.28, 0, 223.95, 0, 112.14, 149.52, 99.68, 0, 37.75, 16.78, 4.10]),
        ("vgg16", [86.70, 1849.69, 0, 924.84, 1849.69, 0, 924.84, 1849.69, 1849.69, 0, 924.84, 1849.69, 1849.69, 0,
                   462.42, 462.42, 462.42, 0, 102.76, 16.78, 4.10]),
    ],
)  # fmt: skip
def test_one_block_per_layer(name: str, mega_multiply_accumulates: list[float]) -> None:
    found = [block.flops / 2e6 for block in analysis(name).blocks]
    assert found == pytest.approx(mega_multiply_accumulates, abs=0.005)


def test_sizes_of_feature_maps_of_vgg16() -> None:
    sizes = [block.output_bytes // 4 for block in analysis("vgg16").blocks]
    assert sizes[:3] == [3211264, 3211264, 802816]
    assert sizes[-4:] == [25088, 4096, 4096, 1000]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_variances_are_positive(name: str) -> None:
    graph = build(name)
    for node in graph.nodes:
        if node.op_type == "BatchNormalization":
            source = graph.weights[node.inputs[4]].source
            assert isinstance(source, Recipe)
            assert isinstance(source.distribution, Uniform)
            assert source.distribution.low > 0


@pytest.mark.parametrize("name", ["tiny", "squeezenet", "mobilenetv2", "googlenet"])
def test_shapes_agree_with_onnx(name: str) -> None:
    graph = build(name)
    loaded = load_model(to_bytes(graph))
    assert loaded.graph.tensors == graph.tensors
    assert loaded.analysis.blocks == build_model(graph, sha256="").analysis.blocks


def test_seeds_repeat_and_differ() -> None:
    assert to_bytes(build("tiny", 1)) == to_bytes(build("tiny", 1))
    assert to_bytes(build("tiny", 1)) != to_bytes(build("tiny", 2))


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownArchitectureError, match=r"'lenet'.*alexnet, .*yolov2"):
        build("lenet")
