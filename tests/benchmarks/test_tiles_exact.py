"""The benchmark of tiles tries the stretches of a model, and its ranges make every row once."""

import random

from benchmarks.tiles_exact import headline, markdown, measure, random_ranges
from shared.model.architectures import build
from shared.model.onnx_file import load_model, to_bytes
from shared.row_ranges import partition_faults


def test_random_ranges_make_every_row_once() -> None:
    rng = random.Random(1)
    for height in (2, 3, 7, 56):
        for _ in range(20):
            ranges = random_ranges(height, rng)
            assert 2 <= len(ranges) <= 4
            assert not list(partition_faults(ranges))
            assert ranges[-1][1] == height


def test_a_small_model() -> None:
    result = measure("tiny", load_model(to_bytes(build("tiny"))), most_blocks=1)
    (stretch,) = result.stretches
    assert stretch.blocks == (0, 5)
    assert set(stretch.whole) == {"2", "3", "4", "random 0", "random 1"}
    assert stretch.whole["4"].overlap > stretch.whole["2"].overlap > 0
    assert max(tiling.max_rel_error for tiling in stretch.tilings) <= 1e-5
    assert "| tiny | 0 to 4 of 7 | 7 |" in markdown([result])
    assert "7 tilings of 1 models" in headline([result])
