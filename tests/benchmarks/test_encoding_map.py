"""Predicted costs of one cell, computed by hand."""

import pytest

from benchmarks.encoding_map import EncodingCell, MeasuredModel, RoutedCost, count_wins, encoding_cells
from shared.messages.calibration import BlockCalibration, Calibration, CodecCalibration

# Behind block 1.
ENCODINGS = (
    CodecCalibration(codec="raw", size_bytes=100_000, worst_size_bytes=100_000),
    CodecCalibration(codec="uint8", size_bytes=25_000, worst_size_bytes=25_000, top1_agreement=1.0),
    CodecCalibration(codec="uint4", size_bytes=12_500, worst_size_bytes=12_500, top1_agreement=0.5),
)


def measured() -> MeasuredModel:
    block = BlockCalibration(block=1, raw_bytes=100_000, codecs=ENCODINGS)
    calibration = Calibration(model="a" * 64, device="here", samples=10, photographs=10, blocks=(block,))
    return MeasuredModel("m", (1.0, 10.0, 30.0), 0.0, 2.0, 20_000, (600_000, 100_000, 4_000), calibration)


def test_costs_of_every_way_in_a_cell() -> None:
    cells = list(encoding_cells(measured(), min_top1_agreement=0.9))
    assert len(cells) == 2 * 3 * 8
    (cell,) = [cell for cell in cells if (cell.speed, cell.bandwidth_mbps, cell.jpeg) == (0.25, 5, False)]
    assert cell.latency["local"].cost_ms == pytest.approx(41.0 / 0.25)
    # The tensor crosses the link of 2 ms and 5 Mbps.
    assert cell.latency["remote"].cost_ms == pytest.approx(2.0 + 8 * 600_000 / 5000 + 41.0)
    # Blocks 0 and 1 run on the source, and 25 kB cross the link: uint4 agrees too little.
    assert cell.latency["encoded"].cost_ms == pytest.approx(11.0 / 0.25 + 2.0 + 8 * 25_000 / 5000 + 30.0)
    assert cell.gain("encoded") == pytest.approx(164.0 / 116.0)


def test_wins_are_counted_beyond_a_margin() -> None:
    def cell(encoded_ms: float) -> EncodingCell:
        costs = {way: RoutedCost(cost_ms, "") for way, cost_ms in (("local", 20.0), ("remote", 10.0))}
        return EncodingCell("m", 0.5, 5, False, {**costs, "encoded": RoutedCost(encoded_ms, "")}, {})

    assert count_wins([cell(5.0), cell(9.9), cell(11.0)], "encoded", margin=0.05) == (1, 2.0)
