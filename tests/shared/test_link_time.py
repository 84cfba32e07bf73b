import ast
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.link_time import bandwidth_of_mbps, bytes_within, transfer_ms, transmission_ms

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("planning", "shared", "services", "broker", "segue", "benchmarks")
SIZE = st.floats(1.0, 1e12)
MBPS = st.floats(1e-3, 1e6)


def test_a_million_bits_take_a_second_at_one_mbps() -> None:
    assert transmission_ms(125_000, 1.0) == 1000.0
    assert transfer_ms(125_000, 5.0, 10.0) == 105.0


def test_a_link_that_is_down_takes_forever_and_one_without_limit_no_time() -> None:
    assert transmission_ms(0, 0.0) == transfer_ms(1, 2.0, 0.0) == math.inf
    assert transfer_ms(1e9, 2.0, math.inf) == 2.0


@given(SIZE, MBPS)
def test_the_inverses_undo_it(size_bytes: float, bandwidth_mbps: float) -> None:
    time_ms = transmission_ms(size_bytes, bandwidth_mbps)
    assert bandwidth_of_mbps(size_bytes, time_ms) == pytest.approx(bandwidth_mbps)
    assert bytes_within(time_ms, bandwidth_mbps) == pytest.approx(size_bytes)


@given(SIZE, st.floats(0, 1e3), MBPS)
def test_it_is_a_line_in_the_inverse_bandwidth_and_in_the_size(
    size_bytes: float, latency_ms: float, bandwidth_mbps: float
) -> None:
    taken_ms = transfer_ms(size_bytes, latency_ms, bandwidth_mbps)
    assert taken_ms == pytest.approx(latency_ms + transmission_ms(size_bytes, 1.0) / bandwidth_mbps)
    assert taken_ms == pytest.approx(latency_ms + size_bytes * transmission_ms(1.0, bandwidth_mbps))


@given(st.lists(SIZE), st.floats(0, 1e3), MBPS | st.just(0.0))
def test_arrays_give_the_same_numbers(sizes: list[float], latency_ms: float, bandwidth_mbps: float) -> None:
    found = transfer_ms(np.array(sizes), latency_ms, bandwidth_mbps)
    assert found.tolist() == [transfer_ms(size, latency_ms, bandwidth_mbps) for size in sizes]


def _factors(node: ast.expr) -> set[object]:
    """Return the constants of a product or quotient."""
    match node:
        case ast.BinOp(left, ast.Mult() | ast.Div(), right):
            return _factors(left) | _factors(right)
        case ast.Constant(value):
            return {value}
        case _:
            return set()


def _converts_bytes(node: ast.AST) -> bool:
    """Return whether a product or quotient converts bytes and Mbps to time or back."""
    if not isinstance(node, ast.BinOp):
        return False
    factors = _factors(node)
    return 125 in factors or 125_000 in factors or (8 in factors and bool(factors & {1000, 1e6, 1e-3, 1e-6}))


@pytest.mark.parametrize(
    "copy",
    ["latency_ms + 8 * size / (1000 * mbps)", "8.0 * n / (mbps * 1e6)", "mbps * 1e6 / 8", "mbps * 125 * ms"],
)
def test_a_copy_is_seen(copy: str) -> None:
    assert any(_converts_bytes(node) for node in ast.walk(ast.parse(copy)))


@pytest.mark.parametrize("other", ["8 * 1024 * 1024", "1000 * (later_s - earlier_s)", "8.0", "flops / 1e6"])
def test_other_arithmetic_is_no_copy(other: str) -> None:
    assert not any(_converts_bytes(node) for node in ast.walk(ast.parse(other)))


def test_no_other_module_converts_bytes_and_mbps_to_time() -> None:
    # The independent annealing's simulation shares nothing with the project but the file format.
    exempt = {ROOT / "shared" / "link_time.py", ROOT / "benchmarks" / "own_simulation.py"}
    copies = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if path not in exempt
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.BinOp) and _converts_bytes(node)
    ]
    assert copies == [], "call shared.link_time"
