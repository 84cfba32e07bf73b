"""Published split profiles of a Raspberry Pi 4, alone and with a GPU, on which Masud's partitioners were measured.

Times are those of ParetoPipe (arXiv 2601.08025) and SplitRL (github.com/riwaj666/SplitRL_V1), with batch 8, in ms per
image. They are head times on the Pi by split, tail times on the GPU by split, and the median of the whole model on one
Pi. A split counts torchvision's ``features`` items or blocks. The times are noisy by a tenth and more, so they are made
monotone. A head that takes less time than a shorter one counts as long as the shorter one. A tail that takes more time
than a longer one counts as long as the longer one. Sizes are those of torchvision's feature maps, 32 bits, 224 x 224
(Inception 299 x 299).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise

from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from shared.policy import Objective, Policy

# Payload rate of a link of 939 Mbps in the published runs.
BANDWIDTH_MBPS = 800.0


@dataclass(frozen=True, slots=True)
class SplitProfile:
    """One model: times in ms per image, elements of the feature map behind every split, bytes of the input.

    Attributes:
        whole_ms: time of the whole model on one Pi.
        head_ms: times of the first 1, 2, ... blocks on the Pi.
        tail_ms: times of the blocks after them on the GPU.
        elements: elements of the feature map after them.
        best_on_two_pis: the split with the highest published throughput.
        side: rows and columns of the input.
    """

    whole_ms: float
    head_ms: tuple[float, ...]
    tail_ms: tuple[float, ...]
    elements: tuple[int, ...]
    best_on_two_pis: int
    side: int = 224


def _maps(*shapes: tuple[int, int, int]) -> tuple[int, ...]:
    """Return elements of maps given as (how many in a row, channels, side)."""
    return tuple(channels * side * side for repeats, channels, side in shapes for _ in range(repeats))


PROFILES = {
    "AlexNet": SplitProfile(
        107,
        (12, 12, 15, 31, 31, 32, 40, 40, 54, 52, 60, 62),
        (2.4, 2.6, 2.4, 2.1, 2.1, 2.0, 1.8, 1.8, 1.2, 1.6, 1.4, 1.3),
        _maps((2, 64, 55), (1, 64, 27), (2, 192, 27), (1, 192, 13), (2, 384, 13), (4, 256, 13)),
        10,
    ),
    "VGG16": SplitProfile(
        1642,
        (
            *(110, 123, 345, 357, 371, 462, 470, 628, 636, 691, 720, 720, 862, 852, 993, 982, 1008, 1083, 1102),
            *(1252, 1368, 1459, 1412, 1455, 1466, 1469, 1520, 1495, 1509, 1558),
        ),
        (
            *(36.6, 37.5, 23.7, 22.4, 24.0, 19.6, 18.5, 16.7, 13.4, 20.5, 17.6, 14.4, 14.5, 14.1, 9.0, 12.4, 12.3),
            *(10.5, 10.2, 7.4, 7.3, 4.8, 4.7, 5.0, 3.7, 3.8, 3.5, 3.5, 2.6, 2.9),
        ),
        _maps(
            *((4, 64, 224), (1, 64, 112), (4, 128, 112), (1, 128, 56), (6, 256, 56), (1, 256, 28)),
            *((6, 512, 28), (1, 512, 14), (6, 512, 14)),
        ),
        13,
    ),
    "ResNet18": SplitProfile(
        208,
        (32, 34, 37, 46, 102, 139, 197, 208),
        (2.4, 2.3, 1.8, 1.6, 1.1, 0.9, 0.5, 0.1),
        _maps((2, 64, 56), (2, 128, 28), (2, 256, 14), (2, 512, 7)),
        2,
    ),
    "ResNet50": SplitProfile(
        674,
        (126, 181, 228, 304, 335, 378, 404, 463, 486, 509, 535, 553, 583, 631, 634, 675, 674, 662),
        (7.9, 8.0, 7.2, 5.9, 5.5, 4.9, 3.7, 3.5, 3.4, 3.0, 2.4, 2.1, 1.8, 1.0, 0.6, 0.1, 0.1, 0.1),
        _maps((1, 64, 56), (3, 256, 56), (4, 512, 28), (6, 1024, 14), (3, 2048, 7), (1, 2048, 1)),
        6,
    ),
    "MobileNetV2": SplitProfile(
        150,
        (10, 23, 72, 91, 88, 92, 109, 113, 116, 143, 137, 157, 157, 131, 139, 142, 144, 148),
        (5.8, 5.9, 3.3, 2.2, 1.9, 2.4, 2.0, 1.6, 1.7, 1.5, 1.5, 1.4, 1.0, 0.7, 0.5, 0.4, 0.4, 0.2),
        _maps(
            *((1, 32, 112), (1, 16, 112), (2, 24, 56), (3, 32, 28), (4, 64, 14), (3, 96, 14), (3, 160, 7)),
            (1, 320, 7),
        ),
        3,
    ),
    "InceptionV3": SplitProfile(
        697,
        (28, 63, 135, 148, 163, 218, 236, 279, 348, 346, 401, 443, 488, 528, 588, 621, 648, 696, 691),
        (
            *(18.2, 18.5, 11.5, 73.9, 14.9, 12.8, 56.8, 11.2, 10.2, 8.8, 8.0, 6.9, 5.6, 4.3, 2.9, 2.1, 1.2, 0.1),
            0.0,
        ),
        _maps(
            *((1, 32, 149), (1, 32, 147), (1, 64, 147), (1, 64, 73), (1, 80, 73), (1, 192, 71), (1, 192, 35)),
            *((1, 256, 35), (2, 288, 35), (5, 768, 17), (1, 1280, 8), (2, 2048, 8), (1, 2048, 1)),
        ),
        10,
        side=299,
    ),
}


def problems() -> Iterator[tuple[str, str, Problem]]:
    """Yield every model's name, ``Pi + Pi`` or ``Pi + GPU``, and the problem.

    The last block stands for everything behind the last split.
    """
    for name, profile in PROFILES.items():
        head_ms = list(accumulate(profile.head_ms, max))
        whole_ms = max(profile.whole_ms, head_ms[-1])
        pi_ms = tuple(after - before for before, after in pairwise([0.0, *head_ms, whole_ms]))
        tail_ms = list(accumulate(profile.tail_ms, min))
        first_ms = tail_ms[0] * pi_ms[0] / max(1.0, whole_ms - pi_ms[0])
        gpu_ms = (first_ms, *(before - after for before, after in pairwise([*tail_ms, 0.0])))
        sizes = (*(4 * count for count in profile.elements), 40)
        blocks = tuple(Block(f"block {index + 1}", size) for index, size in enumerate(sizes))
        model = Model(4 * 3 * profile.side**2, blocks)
        for pair, helper_ms in (("Pi + Pi", pi_ms), ("Pi + GPU", gpu_ms)):
            devices = {"pi": Device({name: pi_ms}), "helper": Device({name: helper_ms})}
            yield (
                name,
                pair,
                Problem(
                    {name: model},
                    devices,
                    (Link("pi", "helper", BANDWIDTH_MBPS, 0.5),),
                    (Stream("camera", name, "pi"),),
                    Policy(objective=Objective.THROUGHPUT),
                ),
            )
