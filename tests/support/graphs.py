"""Random graphs of operators that all keep the shape of their input."""

import numpy as np

from shared.model.graph import Graph, Node
from shared.model.tensor import DType, Tensor
from shared.model.weights import Recipe, Uniform, Weight

SHAPE = (1, 4)


def random_graph(seed: int) -> Graph:
    """Make a random directed graph: up to 2 inputs, 14 operators, 2 outputs, dead ends and constants included."""
    rng = np.random.default_rng(seed)
    inputs = [f"x{i}" for i in range(rng.integers(1, 3))]
    weight = Weight(Tensor("w", DType.FLOAT32, (4, 4)), Recipe(seed, Uniform(0.0, 0.5)))
    known, nodes = list(inputs), []
    for index in range(int(rng.integers(1, 15))):
        recent = known[-3:] if rng.random() < 0.8 else known
        a, b = (str(name) for name in rng.choice(recent, 2))
        kind = str(rng.choice(["MatMul", "Softmax", "Add", "Tanh"]))
        operands = {"MatMul": (a, "w"), "Add": (a, b)}.get(kind, (a,))
        nodes.append(Node(f"n{index}", kind, operands, (f"t{index}",)))
        known.append(f"t{index}")
    outputs = {known[-1], *rng.choice(known[len(inputs) :], rng.integers(1, 3))}
    names = [*inputs, *(node.outputs[0] for node in nodes)]
    tensors = {name: Tensor(name, DType.FLOAT32, SHAPE) for name in names}
    return Graph(
        name="random",
        nodes=tuple(nodes),
        inputs=tuple(inputs),
        outputs=tuple(sorted(map(str, outputs))),
        tensors={**tensors, "w": weight.tensor},
        weights={"w": weight},
        opsets={"": 13},
    )
