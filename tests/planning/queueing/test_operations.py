import pytest

from planning.queueing.operations import Operation, OperationGraph, Work, is_chain

CHAIN = (Operation(Work.COMPUTE, "a", 1.0, 0), Operation(Work.SEND, "a", 2.0, 0, "b"))


def test_a_resource_is_a_device_and_its_work() -> None:
    assert [operation.resource for operation in CHAIN] == [("a", Work.COMPUTE), ("a", Work.SEND)]


def test_operations_without_needs_are_a_chain() -> None:
    assert is_chain(CHAIN)
    assert is_chain(())
    assert not is_chain((*CHAIN, Operation(Work.COMPUTE, "b", 1.0, 1, needs=(1,))))


def test_a_graph_counts_needs_and_lists_followers() -> None:
    graph = OperationGraph((*CHAIN, Operation(Work.COMPUTE, "b", 1.0, 1, needs=(0, 1))))
    assert graph.needs == [0, 1, 2]
    assert graph.followers == [[1, 2], [2], []]


@pytest.mark.parametrize("needs", [(0,), (1,), (-1,)])
def test_an_operation_needs_only_earlier_ones(needs: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="operation 0 needs operation"):
        OperationGraph((Operation(Work.COMPUTE, "a", 1.0, 0, needs=needs),))
