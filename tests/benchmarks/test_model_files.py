"""Judgement and table of `benchmarks.model_files`."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.model_files import FileResult, markdown, model_files
from benchmarks.model_trial import Trial, adaptations, cuts, route
from shared.model.architectures import build
from shared.model.onnx_file import write_onnx
from tests.support.onnx_texts import onnx_bytes

GOOD = Trial(blocks=5, tolerance=1e-5, split_error=0.0, live_error=1e-6, routes=3)


@pytest.mark.parametrize(
    ("trial", "outcome"),
    [
        (GOOD, "worked"),
        (replace(GOOD, split_error=0.1, absolute_error=1e-8), "worked"),
        (replace(GOOD, split_error=0.1, absolute_error=0.5), "rounding"),
        (replace(GOOD, is_same_graph=False), "wrong"),
        (replace(GOOD, live_refusal="no memory"), "refused live"),
        (Trial(refusal="no shape"), "refused"),
        (Trial(refusal="no shape", runtime="no operator"), "refused by the runtime"),
    ],
)
def test_outcomes(trial: Trial, outcome: str) -> None:
    result = FileResult("package", "m|n.onnx", 1_500_000, trial)
    assert result.outcome == outcome
    assert "| package | m/n.onnx | 1.5 |" in markdown([result])


def test_a_limit_is_the_outcome() -> None:
    assert FileResult("package", "m.onnx", 1, Trial(), "not within 3 s").outcome == "limit"


def test_every_file_is_tried_once(tmp_path: Path) -> None:
    write_onnx(build("tiny"), tmp_path / "a.onnx")
    (tmp_path / "b.onnx").write_bytes((tmp_path / "a.onnx").read_bytes())
    (tmp_path / "small.onnx").write_bytes(b"x")
    assert list(model_files([tmp_path])) == [(tmp_path, tmp_path / "a.onnx")]


def test_what_a_file_leaves_open_is_guessed(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    text = "g (float[N,3,h,w] x, float[2,b,8] state, int64 sr) => (float[N,3,h,w] y) {y = Relu(x)}"
    file.write_bytes(onnx_bytes(text))
    first = next(adaptations(file))
    assert first.input_shapes == {"x": (1, 3, 224, 224), "state": (2, 1, 8)}
    assert first.input_values == {"sr": 16_000}


def test_routes_of_a_trial_are_whole() -> None:
    assert cuts(1) == [1]
    assert cuts(9) == [1, 2, 4, 7, 9]
    assert [(each.start, each.stop) for each in route(4, 9).stages] == [(0, 4), (4, 9)]
    assert [(each.start, each.stop) for each in route(9, 9).stages] == [(0, 9)]
