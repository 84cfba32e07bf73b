import itertools
from dataclasses import replace

import numpy as np
import pytest

from planning.learned.layer_partition import VolumeScores, volume_scores
from planning.problem.problem import Block, Model
from tests.support.spatial_problems import VGG16_LAYERS, group_of, meshed, row_chain

# Multiply-accumulates of VGG16's layers in millions, and channels of their outputs.
MMACS = [86.7, 1849.7, 0, 924.8, 1849.7, 0, 924.8, 1849.7, 1849.7, 0, 924.8, 1849.7, 1849.7, 0, 462.4, 462.4, 462.4, 0]
CHANNELS = [64] * 3 + [128] * 3 + [256] * 4 + [512] * 8


def _vgg16() -> Model:
    chain = row_chain(VGG16_LAYERS, input_rows=224)
    sized = [
        replace(block, flops=2e6 * mmac, output_bytes=2.0 * channels * rows * rows)
        for block, mmac, channels, (*_, rows) in zip(chain.blocks, MMACS, CHANNELS, VGG16_LAYERS, strict=True)
    ]
    return replace(chain, blocks=(*sized, Block("fc", 2000, 2.5e8)), input_bytes=2.0 * 3 * 224 * 224)


@pytest.mark.parametrize("seed", range(2))
def test_vgg16_has_the_published_numbers_of_volumes(seed: int) -> None:
    """The paper: 16 volumes if only operations count, 2 if only bytes count."""
    group = group_of(meshed(_vgg16(), [80.0] * 4, [50] * 4))
    scores = volume_scores(group, group.stretches()[0], np.random.default_rng(seed))
    numbers = [len(scores.partition(alpha)) for alpha in (0, 0.25, 0.5, 0.75, 1)]
    assert 14 <= numbers[0] <= 18
    assert 2 <= numbers[-1] <= 3
    assert numbers == sorted(numbers, reverse=True)


def test_more_splits_agree_better() -> None:
    """The paper: partitions from few random splits differ, those from 100 agree."""
    group = group_of(meshed(_vgg16(), [80.0] * 4, [50] * 4))
    units = group.stretches()[0][13:]

    def spread(splits: int) -> float:
        scores = [volume_scores(group, units, np.random.default_rng(seed), splits).bytes for seed in range(8)]
        return float(np.std(scores, axis=0).max())

    assert spread(100) < spread(4) / 2


def test_scores_by_hand() -> None:
    # One row cannot be divided: one of both devices makes all, so that nothing is computed twice.
    group = group_of(meshed(row_chain([(1, 1, 0, 1), (1, 1, 0, 1)], input_rows=1), [1.0] * 2, [1] * 2))
    scores = volume_scores(group, group.units, np.random.default_rng(0), 50)
    assert scores.operations == pytest.approx(np.array([[0.5, 1], [0, 0.5]]))
    # Of three rows that may pass (input, between, and none at the end) one is sent always: the input's.
    sent_between = scores.bytes[1, 1] / scores.bytes[0, 0]
    assert 0.2 < sent_between < 0.8
    assert scores.bytes[0, 1] == pytest.approx(scores.bytes[0, 0])


def test_each_round_divides_every_volume_where_the_score_falls_most() -> None:
    operations = np.triu(np.ones((4, 4)))
    operations[0, 2], operations[0, 1], operations[1, 2] = 10.0, 3.0, 4.0
    assert VolumeScores(operations, np.zeros((4, 4))).partition(0) == (0, 1, 2, 3)
    operations[1, 2] = 2.0
    # Equal scores do not divide.
    assert VolumeScores(operations, np.zeros((4, 4))).partition(0) == (0, 1, 3)
    assert VolumeScores(np.zeros((1, 1)), np.zeros((1, 1))).partition(0.5) == (0,)


def test_the_greedy_search_ends_where_no_single_border_helps() -> None:
    rng = np.random.default_rng(5)
    for _ in range(30):
        values = np.triu(rng.random((6, 6)))
        starts = VolumeScores(values, values).partition(0.5)

        def total(chosen: tuple[int, ...], own: np.ndarray = values) -> float:
            return float(sum(own[a, b - 1] for a, b in itertools.pairwise((*chosen, 6))))

        for extra in set(range(6)) - set(starts):
            assert total(tuple(sorted({*starts, extra}))) >= total(starts) - 1e-9
