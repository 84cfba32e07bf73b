import importlib
import subprocess
import sys

import pytest

from planning.strategies.built_in import BUILT_IN, ONLY_TRIED, BuiltIn


@pytest.mark.parametrize("entry", [*BUILT_IN, *ONLY_TRIED], ids=lambda entry: f"{entry.target}-{entry.name}")
def test_an_entry_tells_the_name_and_the_turn_of_its_strategy(entry: BuiltIn) -> None:
    strategy = entry.load()
    assert strategy.name == entry.name
    assert (None if strategy.trial is None else strategy.trial.turn) == entry.turn


def test_every_variant_of_a_module_has_an_entry() -> None:
    names = {entry.name for entry in BUILT_IN}
    assert len(names) == len(BUILT_IN)
    for module in {entry.target.partition(":")[0] for entry in BUILT_IN}:
        variants = getattr(importlib.import_module(f"planning.strategies.{module}"), "VARIANTS", ())
        assert {variant.name for variant in variants} <= names


def test_names_are_known_without_an_import_of_the_strategies() -> None:
    program = (
        "import sys\n"
        "from planning.strategies.registry import known_strategies\n"
        "assert 'jps:as_printed' in known_strategies() and len(list(known_strategies())) > 20\n"
        "print([name for name in sys.modules if name.endswith(('.jps', '.milp'))])\n"
        "known_strategies()['jps:as_printed']\n"
        "print([name for name in sys.modules if name.endswith(('.jps', '.milp'))])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["[]", "['planning.strategies.jps']"]
