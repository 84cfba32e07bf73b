"""Arrays of a stream: times by rows, encodings, and problems without any."""

from dataclasses import replace

import pytest

from planning.problem.problem import RowTable
from planning.search.device_network import DeviceNetwork
from planning.tiled_search import tile_tables as module
from planning.tiled_search.tile_tables import tile_tables, times_by_rows_ms
from shared.row_times import share_ms
from tests.support.tiled_problems import random_tiled_problem, tables_of, tiles_example


@pytest.mark.parametrize("table", [None, (), ((3, 2.0),), ((1, 1.5), (4, 1.75), (5, 4.0))])
@pytest.mark.parametrize("step", [1, 3, 20])
def test_times_by_rows_are_those_of_the_cost_model_to_the_last_bit(table: RowTable | None, step: int) -> None:
    times_ms = times_by_rows_ms(4.4, table, 7, step)
    assert times_ms.tolist() == [share_ms(4.4, table, -(-rows // step) * step, 7) for rows in range(8)]


def test_a_stair_of_rows() -> None:
    assert times_by_rows_ms(10.0, None, 10, 4).tolist() == [0, 4, 4, 4, 4, 8, 8, 8, 8, 10, 10]


def test_the_example_has_a_unit_per_block_and_heights_at_every_cut() -> None:
    tables = tables_of(tiles_example())
    assert tables.nodes == ("pi1", "pi2", "pi3", "nano")
    assert (tables.source, tables.sink) == (0, 0)
    assert tables.heights[:8] == (224, 224, 224, 112, 112, 112, 56, 56)
    assert tables.heights[-4:] == (7, 1, 1, 1)
    assert tables.encodings.row_bytes[1, 0] == 57344
    assert tables.encodings.row_bytes[0, 0] == pytest.approx(602112 / 224)


def test_a_source_that_cannot_compute_is_a_node_that_is_not_able() -> None:
    problem = random_tiled_problem(3)
    devices = {**problem.devices, "d0": replace(problem.devices["d0"], block_ms={}, row_ms={})}
    tables = tables_of(replace(problem, devices=devices))
    assert tables.nodes == ("d1", "d2", "d0")
    assert tables.able.tolist() == [True, True, False]
    assert not tables.time_ms[:, 2].any()


def test_nothing_is_made_where_nothing_can_be_split(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = tiles_example()
    model = problem.models["vgg16"]
    whole = replace(model, blocks=tuple(replace(block, rows=None) for block in model.blocks))
    bare = replace(problem, models={"vgg16": whole})
    assert tile_tables(bare, problem.streams[0], DeviceNetwork(bare)) is None
    monkeypatch.setattr(module, "MAX_TIMES", 1000)
    assert tile_tables(problem, problem.streams[0], DeviceNetwork(problem)) is None
