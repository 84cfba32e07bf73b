from shared.model.adaptation import Adaptation


def test_sizes_alone_do_not_change_the_graph() -> None:
    assert not Adaptation({"x": (1, 3)}, {"batch": 1}).changes_graph
    assert Adaptation(input_values={"sr": 16000}).changes_graph
    assert Adaptation(outputs=("y",)).changes_graph
