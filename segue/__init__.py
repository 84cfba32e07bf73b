"""Public Python interface of Segue.

Names are imported on first use, so an application that needs `Client` only installs the base package. Planning
needs the extra `planner`, and models need the extra `executor`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from planning.files.json_document import InvalidDocumentError
    from planning.files.plan_file import read_plan, write_answer
    from planning.files.problem_file import read_problem, write_problem
    from planning.files.scenario_file import read_scenario
    from planning.problem.plan import Infeasible, Plan
    from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
    from planning.simulation.simulation import Timeline, simulate
    from planning.strategies import known_strategies, solve
    from shared.bus.errors import BusError
    from shared.client import Client, ClientTimeout
    from shared.messages.requests import Outcome
    from shared.model.errors import ModelError
    from shared.model.onnx_file import ModelSplit, TileChoice, load_model, split
    from shared.policy import Objective, Policy

# Public name -> module that defines it.
_MODULES = {
    "Block": "planning.problem.problem",
    "BusError": "shared.bus.errors",
    "Client": "shared.client",
    "ClientTimeout": "shared.client",
    "Device": "planning.problem.problem",
    "Infeasible": "planning.problem.plan",
    "InvalidDocumentError": "planning.files.json_document",
    "Link": "planning.problem.problem",
    "Model": "planning.problem.problem",
    "ModelError": "shared.model.errors",
    "ModelSplit": "shared.model.onnx_file",
    "Objective": "shared.policy",
    "Outcome": "shared.messages.requests",
    "Plan": "planning.problem.plan",
    "Policy": "shared.policy",
    "Problem": "planning.problem.problem",
    "Stream": "planning.problem.problem",
    "TileChoice": "shared.model.onnx_file",
    "Timeline": "planning.simulation.simulation",
    "known_strategies": "planning.strategies",
    "load_model": "shared.model.onnx_file",
    "read_plan": "planning.files.plan_file",
    "read_problem": "planning.files.problem_file",
    "read_scenario": "planning.files.scenario_file",
    "simulate": "planning.simulation.simulation",
    "solve": "planning.strategies",
    "split": "shared.model.onnx_file",
    "write_answer": "planning.files.plan_file",
    "write_problem": "planning.files.problem_file",
}

__all__ = [  # noqa: RUF022  (grouped by use)
    # applications
    "Client",
    "Outcome",
    "ClientTimeout",
    "BusError",
    # planning
    "Problem",
    "Model",
    "Block",
    "Device",
    "Link",
    "Stream",
    "Policy",
    "Objective",
    "Plan",
    "Infeasible",
    "Timeline",
    "read_problem",
    "write_problem",
    "read_plan",
    "write_answer",
    "read_scenario",
    "known_strategies",
    "solve",
    "simulate",
    "InvalidDocumentError",
    # models
    "load_model",
    "split",
    "ModelSplit",
    "TileChoice",
    "ModelError",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
