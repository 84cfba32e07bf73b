"""The published strategies with other settings: as printed, or with another of the choices their authors offer."""

from collections.abc import Mapping

from planning.search.device_network import DeviceNetwork
from planning.strategies.brute_force import BruteForce
from planning.strategies.dads import Dads, LoadLevel
from planning.strategies.hps import Hps
from planning.strategies.hu_mishra import HuMishra
from planning.strategies.jps import Jps
from planning.strategies.kafetzis_koutsopoulos import KafetzisKoutsopoulos, Start
from planning.strategies.masud import Masud
from planning.strategies.neurosurgeon import Neurosurgeon
from planning.strategies.strategy import Strategy


def variants(network: DeviceNetwork | None = None) -> Mapping[str, Strategy]:
    """Return every variant by its name: that of its strategy, a colon, and what is different.

    Args:
        network: what they share when they solve the same problem.
    """
    found: tuple[Strategy, ...] = (
        Neurosurgeon(
            name="neurosurgeon:load_aware",
            description="knows the load of the server (the original's factor K)",
            server_load_aware=True,
            network=network,
        ),
        HuMishra(
            name="hu_mishra:all_cuts",
            description="every cut is a candidate, not only those after pooling layers",
            all_cuts=True,
            network=network,
        ),
        HuMishra(
            name="hu_mishra:as_printed",
            description="the printed loop without break: the smallest local part",
            as_printed=True,
            network=network,
        ),
        Dads(
            name="dads:light_load",
            description="DSL whatever the rate: least sum of edge, transfer and cloud",
            load=LoadLevel.LIGHT,
            network=network,
        ),
        Dads(
            name="dads:heavy_load",
            description="DSH whatever the rate: least maximum of the three",
            load=LoadLevel.HEAVY,
            network=network,
        ),
        Jps(
            name="jps:as_printed",
            description="ratio of the two cuts floored, no guard",
            floor_ratio=True,
            guard=False,
            network=network,
        ),
        Jps(
            name="jps:unguarded",
            description="ratio rounded, without the best uniform cut beside it",
            guard=False,
            network=network,
        ),
        BruteForce(network=network),
        Hps(
            name="hps:joint",
            description="cuts of all streams improved together (this project)",
            joint=True,
            network=network,
        ),
        KafetzisKoutsopoulos(
            name="kafetzis_koutsopoulos:from_ones",
            description="greedy from one local stage each (as offered)",
            start=Start.ONES,
            network=network,
        ),
        KafetzisKoutsopoulos(
            name="kafetzis_koutsopoulos:from_half",
            description="greedy from half of the stages (as offered)",
            start=Start.HALF,
            network=network,
        ),
        KafetzisKoutsopoulos(
            name="kafetzis_koutsopoulos:multistart",
            description="greedy from random starts as well",
            start=Start.MULTISTART,
            network=network,
        ),
        KafetzisKoutsopoulos(
            name="kafetzis_koutsopoulos:event_driven",
            description="steps judged by the simulation, not the snapshot",
            event_driven=True,
            network=network,
        ),
        KafetzisKoutsopoulos(
            name="kafetzis_koutsopoulos:pairwise",
            description="one or two tasks change to any cuts, from random starts as well (this project)",
            start=Start.MULTISTART,
            pairs=True,
            network=network,
        ),
        Masud(name="masud:latency", description="weighs latency alone", latency_weight=1.0, network=network),
        Masud(
            name="masud:bottleneck", description="weighs the slowest stage alone", latency_weight=0.0, network=network
        ),
    )
    return {strategy.name: strategy for strategy in found}
