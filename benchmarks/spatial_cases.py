"""The experiments of DistrEdge as problems: groups of devices, networks and models, with calibrated times.

DistrEdge publishes neither its devices' profiles nor absolute rates. Times of whole models are measurements of others
with the same boards (TensorRT at FP16, ncnn for the Raspberry Pi 3). Layers share a device's time by FLOPs. On
accelerators a layer's time by rows is a staircase above a fixed time for its launch, as in DistrEdge's figure 13. The
bandwidth of every provider is shaped, so that each has a link of its own to the requester.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from benchmarks.claims.chains import layers
from planning.problem.problem import Block, Device, Link, Model, Problem, RowProfile, RowTable, Stream
from shared.model.analysis import BlockAnalysis
from shared.policy import Policy

REQUESTER: Final = "phone"
# Features and weights at FP16.
FP16: Final = 0.5
# Time of reading and writing a message at its ends, ms.
MESSAGE_MS: Final = 1.5


@dataclass(frozen=True, slots=True)
class Board:
    """A device of DistrEdge's testbed.

    Attributes:
        vgg16_ms: time of VGG16's convolutions and poolings at FP16.
        dense_ms: time of its fully connected layers, which read 247 MB of weights.
        launch_ms: least time of a layer.
        steps: number of steps of a layer's staircase; 0 for a smooth one.
    """

    vgg16_ms: float
    dense_ms: float
    launch_ms: float
    steps: int


BOARDS: Final[Mapping[str, Board]] = {
    "xavier": Board(9.0, 2.0, 0.08, 28),
    "tx2": Board(34.0, 5.0, 0.08, 28),
    "nano": Board(85.0, 10.0, 0.08, 28),
    "pi3": Board(1400.0, 200.0, 0.1, 0),
}

# Tables I to III of the paper. Groups DA to DC run at 50 and 300 Mbps, NA to ND with Nanos and Xaviers.
DEVICE_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "DA": ("tx2", "tx2", "nano", "nano"),
    "DB": ("xavier", "xavier", "nano", "nano"),
    "DC": ("xavier", "tx2", "nano", "pi3"),
}
NETWORK_GROUPS: Final[Mapping[str, tuple[float, ...]]] = {
    "NA": (50, 50, 200, 200),
    "NB": (100, 100, 200, 200),
    "NC": (200, 200, 300, 300),
    "ND": (50, 100, 200, 300),
}
LARGE_GROUPS: Final[Mapping[str, tuple[tuple[float, str], ...]]] = {
    "LA": ((300, "nano"), (200, "nano"), (100, "nano"), (50, "nano")) * 4,
    "LB": ((300, "pi3"), (200, "nano"), (100, "tx2"), (50, "xavier")) * 4,
    "LC": ((200, "pi3"), (200, "nano"), (200, "tx2"), (200, "xavier")) * 4,
    "LD": ((50, "pi3"), (100, "nano"), (200, "tx2"), (300, "xavier")) * 4,
}


@dataclass(frozen=True, slots=True)
class Case:
    """One experiment: boards with the bandwidth of each, and a model.

    Attributes:
        name: group and setting, as in the paper's figures.
        providers: ``(Mbps, board)`` of each.
        model: name of a reference architecture.
        shared_uplink: whether the requester sends over one link of the providers' mean bandwidth, one after the other.
    """

    name: str
    providers: tuple[tuple[float, str], ...]
    model: str = "vgg16"
    shared_uplink: bool = False

    def problem(self) -> Problem:
        """Return the problem: latency of a request from the requester and back."""
        return spatial_problem(self.model, self.providers, self.shared_uplink)


def cases() -> list[Case]:
    """Return the experiments with VGG16 of figures 6 to 8."""
    found = [
        Case(f"{name}@{mbps}", tuple((float(mbps), board) for board in boards))
        for name, boards in DEVICE_GROUPS.items()
        for mbps in (50, 300)
    ]
    found += [
        Case(f"{name} {board}", tuple((mbps, board) for mbps in rates))
        for name, rates in NETWORK_GROUPS.items()
        for board in ("nano", "xavier")
    ]
    return found + [Case(name, providers) for name, providers in LARGE_GROUPS.items()]


def model_cases() -> list[Case]:
    """Return the experiments with other models of figures 9 and 10, as far as there are reference architectures."""
    settings = {
        "DB@50": tuple((50.0, board) for board in DEVICE_GROUPS["DB"]),
        "NA nano": tuple((mbps, "nano") for mbps in NETWORK_GROUPS["NA"]),
    }
    return [
        Case(f"{model} {name}", providers, model)
        for name, providers in settings.items()
        for model in ("resnet50", "inceptionv3", "yolov2")
    ]


def spatial_problem(model: str, providers: Sequence[tuple[float, str]], shared_uplink: bool = False) -> Problem:
    """Return the problem of a model on boards with their bandwidths in Mbps."""
    names = [f"{board}{index}" for index, (_, board) in enumerate(providers)]
    devices = {REQUESTER: Device(separate_links=not shared_uplink)}
    devices |= {name: board_device(model, board) for name, (_, board) in zip(names, providers, strict=True)}
    rates = {name: mbps for name, (mbps, _) in zip(names, providers, strict=True)}
    links = [Link(REQUESTER, name, rates[name], MESSAGE_MS) for name in names]
    links += [
        Link(one, other, min(rates[one], rates[other]), MESSAGE_MS) for one, other in itertools.combinations(names, 2)
    ]
    stream = Stream("camera", "m", REQUESTER, REQUESTER)
    return Problem({"m": fp16_model(model)}, devices, tuple(links), (stream,), Policy())


@cache
def fp16_model(name: str) -> Model:
    """Return a reference architecture with rows and FP16 features."""
    blocks = _tileable(name)
    return Model(_input_bytes(name), tuple(blocks), None, {"inceptionv3": 299, "yolov2": 416}.get(name, 224))


@cache
def board_device(name: str, kind: str) -> Device:
    """Return a board with its times of a model's blocks, and of their rows."""
    board, blocks = BOARDS[kind], fp16_model(name).blocks
    per_flop_ms = board.vgg16_ms / sum(block.flops for block in fp16_model("vgg16").blocks if block.rows)
    times: list[float] = []
    tables: list[RowTable | None] = []
    for block in blocks:
        if block.rows is None:
            times.append(board.dense_ms * block.parameter_bytes / _VGG16_DENSE_BYTES + board.launch_ms)
            tables.append(None)
        else:
            times.append(board.launch_ms + per_flop_ms * block.flops)
            tables.append(staircase(block.rows.output_rows, board.launch_ms, per_flop_ms * block.flops, board.steps))
    return Device({"m": tuple(times)}, row_ms={"m": tuple(tables)})


def staircase(rows: int, launch_ms: float, work_ms: float, steps: int) -> RowTable:
    """Return the times of fewer rows than all: a launch, and the work of the next whole step.

    A layer of fewer rows than steps has one step per row. Without steps, work is in proportion to rows.
    """
    if rows == 1:
        return ()
    step = max(1, rows // steps) if steps else 1
    if not steps:
        return ((1, launch_ms + work_ms / rows), (rows - 1, launch_ms + work_ms * (rows - 1) / rows))[: rows - 1]
    points: dict[int, float] = {}
    for top in range(0, rows, step):
        bottom = min(rows, top + step)
        for at in (top + 1, bottom):
            if at < rows:
                points[at] = launch_ms + work_ms * bottom / rows
    return tuple(points.items())


_VGG16_DENSE_BYTES: Final = 494_571_424.0


def _tileable(name: str) -> list[Block]:
    return [_block(each) for each in layers(name)]


def _block(each: BlockAnalysis) -> Block:
    rows = each.rows
    if each.operators == ("MaxPool", "Flatten"):
        # The flattening belongs to the fully connected layer behind the pooling: VGG16 has 18 layers with rows.
        return Block(each.name, each.output_bytes * FP16, each.flops, rows=RowProfile(7, 2, 2))
    profile = None
    if rows is not None:
        profile = RowProfile(rows.output_rows, rows.kernel, rows.stride, rows.padding, None, rows.upsampling)
    return Block(each.name, each.output_bytes * FP16, each.flops, each.parameter_bytes, rows=profile)


def _input_bytes(name: str) -> float:
    height = {"inceptionv3": 299, "yolov2": 416}.get(name, 224)
    return 3 * height * height * 4 * FP16
