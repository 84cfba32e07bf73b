from collections.abc import Sequence

import pytest

from planning.cost.objective import missing_power_warning, objective_cost
from planning.problem.plan import CostPrediction
from planning.problem.problem import Device
from shared.policy import Objective, Policy

PREDICTED = CostPrediction(latency_ms=12.0, throughput_hz=40.0, energy_j=0.5, makespan_ms=90.0)
ENERGY = Policy(objective=Objective.ENERGY)
KNOWN, SILENT = Device(power_active_w=5.0), Device()


@pytest.mark.parametrize(
    ("objective", "cost"),
    [
        (Objective.LATENCY, 12.0),
        (Objective.THROUGHPUT, 25.0),
        (Objective.ENERGY, 0.5),
        (Objective.MAKESPAN, 90.0),
        (Objective.DEADLINE, 1.5),
        (Objective.TOTAL_DELAY, 12.0),
        (Objective.DELAY_VARIANCE, 8 / 3),
    ],
)
def test_the_formula_of_every_objective(objective: Objective, cost: float) -> None:
    found = objective_cost(objective, PREDICTED, ends_ms=lambda: (2.0, 4.0, 6.0), off_source_blocks=lambda: 1.5)
    assert found == pytest.approx(cost)


def test_nothing_to_do_is_no_bottleneck() -> None:
    idle = CostPrediction(0.0, None, 0.0, 0.0)
    assert objective_cost(Objective.THROUGHPUT, idle, ends_ms=tuple[float], off_source_blocks=float) == 0.0


@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.THROUGHPUT, Objective.ENERGY, Objective.MAKESPAN])
def test_what_is_predicted_is_not_simulated_again(objective: Objective) -> None:
    def simulated() -> Sequence[float]:
        raise AssertionError

    objective_cost(objective, PREDICTED, ends_ms=simulated, off_source_blocks=float)


def test_who_saves_energy_hears_that_nobody_gave_any_power() -> None:
    doubt = missing_power_warning(ENERGY, {"a": SILENT, "b": SILENT})
    assert doubt is not None
    assert "no device has power figures, so every plan costs 0 J" in doubt
    assert "power_active_w" in doubt
    assert "--power-active-w" in doubt


def test_there_is_no_doubt_where_some_figure_is_given_or_none_matters() -> None:
    assert missing_power_warning(ENERGY, {"a": SILENT, "b": KNOWN}) is None
    assert missing_power_warning(ENERGY, {"a": Device(power_tx_w=0.1)}) is None
    assert missing_power_warning(Policy(), {"a": SILENT}) is None
    assert missing_power_warning(ENERGY, {}) is None
