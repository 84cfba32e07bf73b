"""Options, percentiles and result files of benchmarks."""

import json
from pathlib import Path

import pytest

from benchmarks.report import RESULTS, argument_parser, percentile, spread, write


def test_every_benchmark_has_a_quick_form_and_a_results_file(tmp_path: Path) -> None:
    parser = argument_parser("cutting", "Exactness of cuts.", quick="few cuts")
    options = parser.parse_args([])
    assert (options.quick, options.out) == (False, RESULTS / "cutting.json")
    options = parser.parse_args(["--quick", "--out", str(tmp_path / "cuts.json")])
    assert (options.quick, options.out) == (True, tmp_path / "cuts.json")


@pytest.mark.parametrize(("fraction", "value"), [(0.0, 1.0), (0.5, 2.5), (0.95, 3.85), (1.0, 4.0)])
def test_percentiles_are_interpolated(fraction: float, value: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], fraction) == pytest.approx(value)


def test_a_spread_names_its_percentiles() -> None:
    assert spread([1.0, 2.0, 3.0], 0.95) == {"p50": 2.0, "p95": 2.9}


def test_results_are_written_with_the_machine(tmp_path: Path) -> None:
    write(tmp_path / "new" / "results.json", {"headline": "fast"})
    results = json.loads((tmp_path / "new" / "results.json").read_text())
    assert results["headline"] == "fast"
    assert results["machine"]["cores"] >= 1
