"""`segue model list` and `segue model add` on a broker without a planner."""

import json

from services.cli.support.fleet_operations import operator
from services.cli.support.manifest import build_manifest
from shared.bus import topics
from shared.bus.settings import BusSettings
from shared.exit_status import ExitStatus
from tests.support.segue_command import SegueOnBus
from tests.support.shared_paths import DEMO_DATA

SQUEEZENET = DEMO_DATA / "squeezenet1.1.onnx"


async def test_models_are_listed_and_keep_their_names(bus: BusSettings, segue_on_bus: SegueOnBus) -> None:
    manifest = build_manifest(SQUEEZENET)
    async with operator(bus) as connection:
        await connection.publish(topics.manifest(manifest.model), manifest.encode(), qos=1, retain=True)
    (listed,) = json.loads((await segue_on_bus("model", "list", "--json")).stdout)
    assert (listed["name"], listed["model"]) == ("squeezenet1.1", manifest.model)
    shown = await segue_on_bus("model", "list")
    assert manifest.model[:12] in shown.stdout
    renamed = await segue_on_bus("model", "add", str(SQUEEZENET), "--name", "other")
    assert renamed.returncode == ExitStatus.INPUT_WRONG
    assert "the fleet has this file as squeezenet1.1 already" in renamed.stderr
    unnamed = await segue_on_bus("model", "add", str(SQUEEZENET), "--name", "a b")
    assert unnamed.returncode == ExitStatus.INPUT_WRONG
    assert "'a b' is no name" in unnamed.stderr


async def test_without_a_planner_nobody_takes_a_model(segue_on_bus: SegueOnBus) -> None:
    silent = await segue_on_bus("model", "add", str(SQUEEZENET), "--stall-s", "1")
    assert silent.returncode == ExitStatus.OUT_OF_REACH
    assert "nobody takes model squeezenet1.1" in silent.stderr
