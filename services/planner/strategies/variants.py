"""The published strategies with other settings: as printed, or with another of the choices their authors offer."""

from collections.abc import Mapping

from services.planner.strategies.brute_force import BruteForce
from services.planner.strategies.dads import Dads, Load
from services.planner.strategies.hps import Hps
from services.planner.strategies.hu_mishra import HuMishra
from services.planner.strategies.jps import Jps
from services.planner.strategies.kafetzis_koutsopoulos import KafetzisKoutsopoulos, Start
from services.planner.strategies.masud import Masud
from services.planner.strategies.neurosurgeon import Neurosurgeon
from services.planner.strategies.strategy import Strategy


def variants() -> Mapping[str, Strategy]:
    """Return every variant by its name: that of its strategy, a colon, and what is different."""
    found: tuple[Strategy, ...] = (
        Neurosurgeon(
            "neurosurgeon:load_aware", "knows the load of the server (the original's factor K)", server_load_aware=True
        ),
        HuMishra("hu_mishra:all_cuts", "every cut is a candidate, not only those after pooling layers", all_cuts=True),
        HuMishra("hu_mishra:as_printed", "the printed loop without break: the smallest local part", as_printed=True),
        Dads("dads:light_load", "DSL whatever the rate: least sum of edge, transfer and cloud", load=Load.LIGHT),
        Dads("dads:heavy_load", "DSH whatever the rate: least maximum of the three", load=Load.HEAVY),
        Jps("jps:as_printed", "ratio of the two cuts floored, no guard", floor_ratio=True, guard=False),
        Jps("jps:unguarded", "ratio rounded, without the best uniform cut beside it", guard=False),
        BruteForce(),
        Hps("hps:joint", "cuts of all streams improved together (this project)", joint=True),
        KafetzisKoutsopoulos(
            "kafetzis_koutsopoulos:from_ones", "greedy from one local stage each (as offered)", start=Start.ONES
        ),
        KafetzisKoutsopoulos(
            "kafetzis_koutsopoulos:from_half", "greedy from half of the stages (as offered)", start=Start.HALF
        ),
        KafetzisKoutsopoulos(
            "kafetzis_koutsopoulos:multistart", "greedy from random starts as well", start=Start.MULTISTART
        ),
        KafetzisKoutsopoulos(
            "kafetzis_koutsopoulos:event_driven", "steps judged by the simulation, not the snapshot", event_driven=True
        ),
        Masud("masud:latency", "weighs latency alone", latency_weight=1.0),
        Masud("masud:bottleneck", "weighs the slowest stage alone", latency_weight=0.0),
    )
    return {strategy.name: strategy for strategy in found}
