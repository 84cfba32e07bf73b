import numpy as np
import pytest

from planning.learned.dense_network import DenseNetwork
from shared.model.onnx_file.dense_model import NoDenseModelError, dense_layers, dense_model
from shared.model.scoring import load_scorer


def test_the_stored_network_answers_as_the_trained_one() -> None:
    rng = np.random.default_rng(0)
    network = DenseNetwork.fresh((5, 7, 6, 3), True, rng)
    network.values *= 3
    data = dense_model(network.layers)
    states = rng.normal(size=(9, 5)).astype(np.float32)
    assert load_scorer(data)(states) == pytest.approx(network.run(states), abs=1e-6)
    for (weights, biases), (own_weights, own_biases) in zip(dense_layers(data), network.layers, strict=True):
        assert (weights == own_weights).all()
        assert (biases == own_biases).all()


def test_other_files_are_refused() -> None:
    with pytest.raises(NoDenseModelError, match="it is no ONNX model"):
        dense_layers(b"text")
    with pytest.raises(NoDenseModelError, match="its layers do not follow each other"):
        dense_layers(b"")
