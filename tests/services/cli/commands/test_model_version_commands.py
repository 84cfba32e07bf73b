"""Versions of a model on a real planner, as an operator types the commands."""

import json
from pathlib import Path

import pytest

from services.cli.support.fleet_operations import add_model, declare_stream, operator
from services.cli.support.manifest import build_manifest
from services.cli.testbed.processes import Processes
from shared.bus.settings import BusSettings
from shared.exit_status import ExitStatus
from shared.messages.models import Preprocessing
from shared.messages.streams import StreamDeclaration
from shared.model.architectures import build
from shared.model.onnx_file import write_onnx
from tests.support.segue_command import SegueOnBus


async def test_versions_are_listed_restored_and_removed(
    tmp_path: Path, bus: BusSettings, segue_on_bus: SegueOnBus
) -> None:
    file = tmp_path / "tiny.onnx"
    write_onnx(build("tiny"), file)
    first = build_manifest(file, preprocessing=Preprocessing(kind="image"))
    second = build_manifest(file, preprocessing=Preprocessing(kind="image", channel_order="BGR"))
    async with Processes(tmp_path) as processes, operator(bus) as connection:
        await processes.start("planner", ("planner", "--broker", bus.address, "--data-dir", str(tmp_path / "planner")))
        for manifest in (first, second):
            await add_model(bus, manifest, file)
        kept = StreamDeclaration(stream="door", model="tiny", source="pi", version=first.version())
        await declare_stream(connection, kept)

        (model,) = json.loads((await segue_on_bus("model", "list", "--json")).stdout)
        assert [
            (each["number"], each["is_current"], each["differs_in"], each["streams"]) for each in model["versions"]
        ] == [(1, False, [], ["door"]), (2, True, ["preprocessing"], [])]

        used = await segue_on_bus("model", "remove", "tiny", "--version", "1")
        assert (used.returncode, "is used by door" in used.stderr) == (ExitStatus.INPUT_WRONG, True)
        current = await segue_on_bus("model", "remove", "tiny", "--version", "2")
        assert (current.returncode, "is the current one" in current.stderr) == (ExitStatus.INPUT_WRONG, True)

        back = await segue_on_bus("model", "rollback", "tiny")
        assert back.stdout == "version 1 of tiny is the current one\n", back.stderr
        removed = await segue_on_bus("model", "remove", "tiny", "--version", "2")
        assert removed.stdout == "version 2 of tiny is removed\n", removed.stderr
        (model,) = json.loads((await segue_on_bus("model", "list", "--json")).stdout)
        assert [(each["number"], each["is_current"]) for each in model["versions"]] == [(1, True)]
        nowhere = await segue_on_bus("model", "rollback", "tiny")
        assert "no version before the current one" in nowhere.stderr


@pytest.mark.parametrize("command", ["rollback", "remove"])
async def test_a_model_that_is_not_there_is_named(command: str, segue_on_bus: SegueOnBus) -> None:
    done = await segue_on_bus("model", command, "tiny")
    assert done.returncode == ExitStatus.INPUT_WRONG
    assert "the fleet has no model tiny" in done.stderr
