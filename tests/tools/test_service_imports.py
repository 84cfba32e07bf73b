"""Services run without the packages that their installation lacks: each is imported where others are missing."""

import subprocess
import sys
import tomllib

import pytest

from tests.support.shared_paths import REPOSITORY

# Packages that a distribution brings under other names.
MODULES = {"pillow": "PIL", "prometheus-client": "prometheus_client"}
# What typer and rich load for help in colours, source code and documents only; the images leave them out.
NEVER = ("pygments", "markdown_it", "mdurl")
PROGRAM = """
import importlib, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[2].split(","):
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Missing())
importlib.import_module(sys.argv[1])
"""


def names(requirements: list[str]) -> set[str]:
    bare = (requirement.partition(">=")[0].partition(",")[0] for requirement in requirements)
    return {MODULES.get(name, name) for name in bare if "[" not in name}


def missing_in(extra: str | None) -> str:
    """Return the packages of other extras that an installation with this one lacks."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = {name: names(listed) for name, listed in project["optional-dependencies"].items()}
    own = extras[extra] if extra else set()
    roles = ("planner", "learned", "executor", "collector", "broker", "fleet", "plot", "qr")
    return ",".join(sorted({*NEVER, *set().union(*(extras[role] for role in roles)) - own}))


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("services.monitor.service", "monitor"),
        ("services.executor.service", "executor"),
        ("services.planner.service", "planner"),
        ("services.collector.service", "collector"),
        ("services.cli.commands.service_commands", "monitor"),
        ("services.cli.commands.doctor_commands", "monitor"),
        ("services.cli.commands.join_commands", "monitor"),
        ("services.cli.commands.health_commands", "monitor"),
        ("services.cli.commands.closed_fleet_commands", "fleet"),
        ("services.cli.commands.broker_commands", "fleet"),
        ("shared.client", None),
    ],
)
def test_a_service_imports_with_its_own_packages_alone(module: str, extra: str | None) -> None:
    missing = missing_in(extra)
    assert "numpy" in missing or extra in ("executor", "planner")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, module, missing],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
