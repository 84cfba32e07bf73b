"""The map of where tiles pay, from assumed times."""

from pathlib import Path

from benchmarks.tiled_map import MapCell, MeasuredRows, cell, document, headline, markdown, problem_of
from benchmarks.tiled_map_picture import write_picture
from planning.problem.problem import Block, Model, RowProfile
from services.executor.segments.idle_profile import IdleProfile

ROWS = RowProfile(64, kernel=3, padding=1)
MODEL = Model(
    1000, (Block("prepare", 10_000), *(Block(f"conv{n}", 10_000, rows=ROWS) for n in range(4)), Block("fc", 10))
)
PROFILE = IdleProfile((1.0, *[100.0] * 4, 1.0), 0.1, row_ms={1: ((32, 60.0),)})
MEASURED = MeasuredRows("net", PROFILE, MODEL, (), (1.0, 1.0))


def test_problems_of_the_map_have_rows_or_none() -> None:
    problem = problem_of(MEASURED, "1:2:4:8", 50)
    assert problem.devices["d1"].block_ms["net"][1] == 800.0
    assert problem.devices["d4"].row_ms["net"][1] == ((32, 60.0),)
    without = problem_of(MEASURED, "1:2:4:8", 50, in_tiles=False)
    assert all(block.rows is None for block in without.models["net"].blocks)
    assert without.devices["d4"].row_ms == {}


def test_tiles_pay_where_computing_is_long_and_messages_are_short() -> None:
    found = cell(MEASURED, "equal", 1000)
    assert found.single_ms == found.sequential_ms
    assert found.tiled_ms < 0.6 * found.single_ms
    assert found.gain > 1.6
    slow = cell(MEASURED, "equal", 0.005)
    assert (slow.gain, slow.tiled_ms) == (1.0, slow.single_ms)


def test_the_map_is_written(tmp_path: Path) -> None:
    cells = [
        MapCell("net", fleet, mbps, 400.0, 300.0, tiled_ms, "[0,1) d1", 5.0)
        for fleet in ("equal", "1:2:4:8")
        for mbps, tiled_ms in ((20, 300.0), (200, 100.0))
    ]
    assert "| net | equal | 300 | 300, **100** |" in markdown(cells)
    assert headline(cells).startswith("tiles pay in 2 of 4 cells")
    assert document([MEASURED], cells)["measured"]["net"]["row_ms"] == {1: ((32, 60.0),)}
    write_picture(cells, tmp_path / "map.svg")
    assert "3.0x" in (tmp_path / "map.svg").read_text()
