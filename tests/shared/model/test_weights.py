import numpy as np
import pytest

from shared.model.tensor import DType, Tensor
from shared.model.weights import Normal, Recipe, Uniform, Weight, he_normal


def tensor(name: str = "w", shape: tuple[int, ...] = (64, 64), dtype: DType = DType.FLOAT32) -> Tensor:
    return Tensor(name, dtype, shape)


def test_a_recipe_repeats_itself_whatever_else_is_made() -> None:
    first = Recipe(3, Normal(1.0)).make(tensor())
    Recipe(3, Normal(1.0)).make(tensor("other"))
    assert np.array_equal(first, Recipe(3, Normal(1.0)).make(tensor()))


@pytest.mark.parametrize(("seed", "name"), [(4, "w"), (3, "v")])
def test_seed_and_name_change_the_numbers(seed: int, name: str) -> None:
    assert not np.array_equal(Recipe(3, Normal(1.0)).make(tensor()), Recipe(seed, Normal(1.0)).make(tensor(name)))


def test_he_initialisation_has_variance_two_over_fan_in() -> None:
    values = Recipe(0, he_normal(50)).make(tensor(shape=(400, 400)))
    assert values.var() == pytest.approx(2 / 50, rel=0.02)
    assert abs(values.mean()) < 0.002


def test_a_uniform_recipe_stays_in_its_bounds() -> None:
    values = Recipe(0, Uniform(0.5, 1.5)).make(tensor())
    assert 0.5 <= values.min() < 0.51
    assert 1.49 < values.max() < 1.5


def test_a_recipe_makes_the_type_of_its_tensor() -> None:
    assert Recipe(0, Normal(1.0)).make(tensor(dtype=DType.FLOAT16)).dtype == np.float16


def test_a_weight_gives_its_numbers_or_makes_them() -> None:
    values = np.ones((64, 64), np.float32)
    assert Weight(tensor(), values).values() is values
    recipe = Recipe(1, Normal(1.0))
    assert np.array_equal(Weight(tensor(), recipe).values(), recipe.make(tensor()))
