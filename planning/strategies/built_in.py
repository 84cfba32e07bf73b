"""The strategies of this package by name; each is imported when it is used."""

import importlib
from dataclasses import dataclass
from typing import Final

from planning.strategies.strategy import Strategy


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A strategy of this package whose module is imported when the strategy is used.

    Attributes:
        name: `Strategy.name`.
        target: ``module:attribute`` in `planning.strategies`. The attribute is a class without required arguments, an
            instance, or a tuple of instances in which the name occurs.
        turn: the turn of its `Trial`; None if ``auto`` never tries it.
    """

    name: str
    target: str
    turn: int | None

    def load(self) -> Strategy:
        """Import the module and return the strategy."""
        module, _, attribute = self.target.partition(":")
        value = getattr(importlib.import_module(f"planning.strategies.{module}"), attribute)
        if isinstance(value, tuple):
            value = next(each for each in value if each.name == self.name)
        strategy: Strategy = value() if isinstance(value, type) else value
        return strategy


# The order is that of lists and tables. A new strategy needs its file and an entry here.
BUILT_IN: Final = (
    BuiltIn("shortest_path", "shortest_path:ShortestPath", 10),
    BuiltIn("mixed_routes", "mixed_routes:MixedRoutes", 30),
    BuiltIn("milp", "milp:Milp", 20),
    BuiltIn("tiled", "tiled:Tiled", 35),
    BuiltIn("neurosurgeon", "neurosurgeon:Neurosurgeon", 130),
    BuiltIn("hu_mishra", "hu_mishra:HuMishra", 80),
    BuiltIn("dads", "dads:Dads", 90),
    BuiltIn("jps", "jps:Jps", 50),
    BuiltIn("kafetzis_koutsopoulos", "kafetzis_koutsopoulos:KafetzisKoutsopoulos", 110),
    BuiltIn("rank_assignment", "rank_assignment:RankAssignment", 100),
    BuiltIn("fair_ranks", "fair_ranks:FairRanks", 120),
    BuiltIn("burst", "burst:Burst", 60),
    BuiltIn("hps", "hps:Hps", 70),
    BuiltIn("masud", "masud:Masud", 40),
    BuiltIn("masud_learned", "masud_learned:MasudLearned", 240),
    BuiltIn("local_only", "local_only:LocalOnly", 210),
    BuiltIn("remote_only", "remote_only:RemoteOnly", 220),
    BuiltIn("pinned", "pinned:Pinned", None),
    BuiltIn("exhaustive", "exhaustive:Exhaustive", 230),
    BuiltIn("distredge", "spatial.distredge:Distredge", None),
    BuiltIn("coedge", "spatial.coedge:COEDGE", None),
    BuiltIn("modnn", "spatial.modnn:MODNN", None),
    BuiltIn("mednn", "spatial.mednn:MEDNN", None),
    BuiltIn("deepthings", "spatial.deepthings:DEEPTHINGS", None),
    BuiltIn("deeperthings", "spatial.deeperthings:DEEPERTHINGS", None),
    BuiltIn("aofl", "spatial.aofl:AOFL", None),
    BuiltIn("offload", "spatial.offload:OFFLOAD", None),
    BuiltIn("neurosurgeon:load_aware", "neurosurgeon:VARIANTS", 140),
    BuiltIn("hu_mishra:all_cuts", "hu_mishra:VARIANTS", 150),
    BuiltIn("hu_mishra:as_printed", "hu_mishra:VARIANTS", 150),
    BuiltIn("dads:light_load", "dads:VARIANTS", 160),
    BuiltIn("dads:heavy_load", "dads:VARIANTS", 160),
    BuiltIn("jps:as_printed", "jps:VARIANTS", 170),
    BuiltIn("jps:unguarded", "jps:VARIANTS", 170),
    BuiltIn("jps:brute_force", "brute_force:BruteForce", 170),
    BuiltIn("hps:joint", "hps:VARIANTS", 180),
    BuiltIn("kafetzis_koutsopoulos:from_ones", "kafetzis_koutsopoulos:VARIANTS", 190),
    BuiltIn("kafetzis_koutsopoulos:from_half", "kafetzis_koutsopoulos:VARIANTS", 190),
    BuiltIn("kafetzis_koutsopoulos:multistart", "kafetzis_koutsopoulos:VARIANTS", 190),
    BuiltIn("kafetzis_koutsopoulos:event_driven", "kafetzis_koutsopoulos:VARIANTS", 190),
    BuiltIn("kafetzis_koutsopoulos:pairwise", "kafetzis_koutsopoulos:VARIANTS", 190),
    BuiltIn("masud:latency", "masud:VARIANTS", 200),
    BuiltIn("masud:bottleneck", "masud:VARIANTS", 200),
    BuiltIn("distredge:seeded", "spatial.distredge:VARIANTS", None),
    BuiltIn("modnn:hub", "spatial.modnn:VARIANTS", None),
    BuiltIn("deepthings:quickest", "spatial.deepthings:VARIANTS", None),
    BuiltIn("aofl:capability", "spatial.aofl:VARIANTS", None),
)

# Tried by ``auto`` under the name of their strategy, and unknown to policies.
ONLY_TRIED: Final = (
    BuiltIn("shortest_path", "shortest_path:BALANCED", 15),
    BuiltIn("kafetzis_koutsopoulos", "kafetzis_koutsopoulos:SIMULATED", 115),
    BuiltIn("milp", "milp:ANY_ROUTES", 250),
)
