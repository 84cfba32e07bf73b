"""The tolerance follows the coarsest element type that a model computes."""

from shared.model.tensor import DType
from shared.model.tolerance import relative_tolerance, unoptimised_tolerance


def test_the_coarsest_type_decides() -> None:
    assert relative_tolerance([DType.FLOAT64]) < relative_tolerance([DType.FLOAT64, DType.FLOAT32]) == 1e-5
    assert relative_tolerance([DType.FLOAT32, DType.FLOAT16]) == 8 * 2**-10
    assert relative_tolerance([DType.FLOAT16]) < relative_tolerance([DType.FLOAT16, DType.BFLOAT16])
    assert relative_tolerance([DType.FLOAT32, DType.INT8]) > relative_tolerance([DType.FLOAT16])


def test_indices_and_conditions_have_none() -> None:
    assert relative_tolerance([DType.INT64, DType.BOOL]) == relative_tolerance([]) == 0
    assert relative_tolerance([DType.INT64, DType.FLOAT32]) == 1e-5


def test_without_optimisation_quantised_values_do_not_move() -> None:
    assert unoptimised_tolerance([DType.FLOAT32, DType.UINT8]) == 1e-5
    assert unoptimised_tolerance([DType.UINT8]) == 0
    assert unoptimised_tolerance([DType.FLOAT16, DType.UINT8]) == relative_tolerance([DType.UINT8])


def test_every_type_with_a_rounding_has_a_tolerance() -> None:
    assert all(relative_tolerance([dtype]) > 0 for dtype in DType if dtype.is_float)
