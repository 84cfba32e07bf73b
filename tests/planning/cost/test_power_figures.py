from planning.cost.power_figures import power_doubt
from planning.problem.problem import Device
from shared.policy import Objective, Policy

ENERGY = Policy(objective=Objective.ENERGY)
KNOWN, SILENT = Device(power_active_w=5.0), Device()


def test_who_saves_energy_hears_that_nobody_gave_any_power() -> None:
    doubt = power_doubt(ENERGY, {"a": SILENT, "b": SILENT})
    assert doubt is not None
    assert "no device has power figures, so every plan costs 0 J" in doubt
    assert "power_active_w" in doubt
    assert "--power-active-w" in doubt


def test_there_is_no_doubt_where_some_figure_is_given_or_none_matters() -> None:
    assert power_doubt(ENERGY, {"a": SILENT, "b": KNOWN}) is None
    assert power_doubt(ENERGY, {"a": Device(power_tx_w=0.1)}) is None
    assert power_doubt(Policy(), {"a": SILENT}) is None
    assert power_doubt(ENERGY, {}) is None
