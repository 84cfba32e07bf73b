import sys

import numpy as np
import pytest

from shared.model.scoring import load_scorer
from tests.support.onnx_texts import onnx_bytes


def test_scores_any_number_of_rows() -> None:
    score = load_scorer(onnx_bytes("g (float[n, 2] x) => (float[n, 2] y) {y = Neg(x)}"))
    for count in (1, 7):
        values = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
        assert np.array_equal(score(values), -values)


def test_without_onnxruntime_says_which_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "shared.inference_runtime", raising=False)
    with pytest.raises(ModuleNotFoundError, match="onnxruntime"):
        load_scorer(b"")
