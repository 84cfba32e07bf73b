"""The formula of every objective, and a warning where an objective has no figures."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from planning.problem.plan import CostPrediction
from shared.policy import Objective, Policy


def objective_cost(
    objective: Objective,
    predicted: CostPrediction,
    *,
    ends_ms: Callable[[], Sequence[float]],
    off_source_blocks: Callable[[], float],
) -> float:
    """Return the number that strategies minimise for ``objective``. It is `Plan.cost`, and what `auto` ranks by.

    All jobs of a burst arrive at 0, so the delay of a job is when it ends, e_i, for i = 1..n over all streams.

    ================  ==================================================================  ======
    objective         formula                                                             unit
    ================  ==================================================================  ======
    latency           mean over the n jobs of the latency of a request alone              ms
    throughput        largest busy time of a processor or a sending, per job              ms
    energy            mean over the n jobs of the energy above idling                     J
    makespan          max e_i                                                             ms
    deadline          mean over the n jobs of the number of blocks off the source         blocks
    total_delay       sum of e_i                                                          ms
    delay_variance    sum of (e_i - mean e)^2 / n                                         ms^2
    ================  ==================================================================  ======

    Deadline is the objective of Hu & Mishra: keep work at the source as far as the deadline, a constraint, allows.

    Args:
        objective: the policy's objective.
        predicted: the cost prediction of the whole plan.
        ends_ms: returns when each job ends, in ms; called only where the formula needs it, because it simulates.
        off_source_blocks: returns the mean number of blocks that run off the source.
    """
    match objective:
        case Objective.LATENCY:
            return predicted.latency_ms
        case Objective.THROUGHPUT:
            return 0.0 if predicted.throughput_hz is None else 1000 / predicted.throughput_hz
        case Objective.ENERGY:
            return predicted.energy_j
        case Objective.MAKESPAN:
            return predicted.makespan_ms
        case Objective.DEADLINE:
            return off_source_blocks()
        case Objective.TOTAL_DELAY:
            return sum(ends_ms())
        case Objective.DELAY_VARIANCE:
            times_ms = ends_ms()
            mean_ms = sum(times_ms) / len(times_ms)
            return sum((time_ms - mean_ms) ** 2 for time_ms in times_ms) / len(times_ms)


class PowerFigures(Protocol):
    """Power that a device takes, in watts; 0 where it is not known."""

    @property
    def power_idle_w(self) -> float:
        """Power without work."""

    @property
    def power_active_w(self) -> float:
        """Power while computing."""

    @property
    def power_tx_w(self) -> float:
        """Power that sending takes beside it."""

    @property
    def power_rx_w(self) -> float:
        """Power that receiving takes beside it."""


def missing_power_warning(policy: Policy, devices: Mapping[str, PowerFigures]) -> str | None:
    """Return the warning that energy cannot be planned because no device has power figures; None if it can.

    One device with figures is enough: often only the energy of battery-powered devices matters.
    """
    if policy.objective is not Objective.ENERGY or not devices or any(map(_has_power, devices.values())):
        return None
    return (
        "energy: no device has power figures, so every plan costs 0 J and none is better: give power_active_w, "
        "power_idle_w, power_tx_w and power_rx_w of the devices (segue executor --power-active-w and so on)"
    )


def _has_power(device: PowerFigures) -> bool:
    return any((device.power_idle_w, device.power_active_w, device.power_tx_w, device.power_rx_w))
