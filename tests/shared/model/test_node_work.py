import numpy as np
import pytest

from shared.model.architectures import build
from shared.model.liveness import activate
from shared.model.node_work import node_work
from shared.model.onnx_file import load_model
from tests.support.onnx_texts import onnx_bytes

SQUARE = np.zeros((4, 4), np.float32)


def test_shares_add_up_to_one() -> None:
    work = node_work(activate(build("tiny")))
    assert sum(work) == pytest.approx(1)
    assert min(work) >= 0


def test_operations_and_parameters_count_half_each() -> None:
    text = "g (float[2,4] x) => (float[2,4] y) {a = MatMul(x, w) b = Relu(a) y = MatMul(b, w)}"
    graph = load_model(onnx_bytes(text, w=SQUARE)).graph
    # 64 operations for each product, and 16 elements at the activation. The weight counts for its first reader.
    assert node_work(activate(graph)) == pytest.approx((32 / 144 + 1 / 2, 8 / 144, 32 / 144), rel=0.06)
