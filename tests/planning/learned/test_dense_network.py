import numpy as np
import pytest

from planning.learned.dense_network import DenseNetwork, VectorAdam


@pytest.mark.parametrize("bounded", [False, True])
def test_gradients_are_those_of_differences(bounded: bool) -> None:
    rng = np.random.default_rng(1)
    network = DenseNetwork.fresh((3, 5, 4, 2), bounded, rng)
    # In double precision, and with a last layer that is not almost 0.
    network = DenseNetwork(network.widths, bounded, rng.normal(size=len(network.values)))  # type: ignore[arg-type]
    inputs, slopes = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    by_values, by_inputs = network.gradients(network.trace(inputs), slopes)  # type: ignore[arg-type]

    def total(values: np.ndarray, given: np.ndarray) -> float:
        return float((slopes * DenseNetwork(network.widths, bounded, values).run(given)).sum())

    step = 1e-6
    for place in range(0, len(network.values), 7):
        higher = network.values.copy()
        higher[place] += step
        assert (total(higher, inputs) - total(network.values, inputs)) / step == pytest.approx(
            by_values[place], rel=1e-3, abs=1e-4
        )
    moved = inputs.copy()
    moved[2, 1] += step
    assert (total(network.values, moved) - total(network.values, inputs)) / step == pytest.approx(
        by_inputs[2, 1], rel=1e-3, abs=1e-4
    )


def test_a_copy_has_its_own_parameters_and_layers_are_views() -> None:
    network = DenseNetwork.fresh((2, 3, 1), True, np.random.default_rng(0))
    copy = network.copy()
    network.values += 1
    assert network.layers[0][0][0, 0] == network.values[0]
    assert copy.layers[0][0][0, 0] == pytest.approx(network.values[0] - 1)
    with pytest.raises(ValueError, match="have 13 parameters, not 5"):
        DenseNetwork((2, 3, 1), True, np.zeros(5, np.float32))


def test_the_first_steps_of_adam_by_hand() -> None:
    values = np.zeros(2, np.float32)
    adam = VectorAdam(values, 0.1)
    # Corrected moments of the first step are g and g^2, so that it is the rate times the sign.
    adam.step(np.array([4.0, -0.5], np.float32))
    assert values == pytest.approx([-0.1, 0.1], rel=1e-4)
    # m = (0.09 x 4 + 0.1 x 0) / 0.19 x 0.1 / 0.1 ..., v = 0.999 x 0.016 / 0.001999: 0.36 / 0.19 / sqrt(7.996)
    adam.step(np.array([0.0, 0.0], np.float32))
    assert values[0] == pytest.approx(-0.1 - 0.1 * (0.36 / 0.19) / np.sqrt(0.999 * 0.016 / 0.001999), rel=1e-4)
