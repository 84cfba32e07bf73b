"""Classes of operators do not contradict each other."""

from shared.model.operators import ELEMENTWISE, LIGHT


def test_elementwise_operators_are_light() -> None:
    assert ELEMENTWISE <= LIGHT


def test_operators_that_look_beyond_an_element_are_not_elementwise() -> None:
    assert not ELEMENTWISE & {"Conv", "Softmax", "LRN", "Concat", "Dropout", "BatchNormalization"}
