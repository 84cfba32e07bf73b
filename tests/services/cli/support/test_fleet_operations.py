"""An operator's session on a real fleet of one device: every command as a user types it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from services.cli.support.fleet_operations import operator
from services.cli.testbed.processes import Processes
from shared.bus import topics
from shared.exit_status import ExitStatus
from shared.messages.devices import State
from tests.support.shared_paths import DEMO_DATA

DATA = DEMO_DATA
CAT = DATA / "photos" / "chelsea.jpg"


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    """A broker, a planner, and the device `pi`."""
    async with EmbeddedBroker() as broker:
        environment = {"SEGUE_BROKER": broker.settings.address, "OMP_NUM_THREADS": "1"}
        async with Processes(tmp_path, environment) as processes, operator(broker.settings) as connection:
            await connection.subscribe(topics.presence("pi"))
            await connection.subscribe(topics.service_presence("planner"))
            await processes.start("planner", ("planner", "--data-dir", str(tmp_path / "planner")))
            await processes.start("executor", ("executor", "--device", "pi", "--data-dir", str(tmp_path / "pi")))
            await processes.start("monitor", ("monitor", "--device", "pi"))
            present: set[str] = set()
            async with asyncio.timeout(30):
                while len(present) < 2:
                    received = await anext(connection)
                    if State.ONLINE.encode() in bytes(received.payload):
                        present.add(received.topic)
            yield broker.settings.address


async def segue(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "services.cli.main", *arguments, "--broker", address],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


async def test_a_session_from_the_first_model_to_the_last_stream(address: str) -> None:
    added = await segue(
        address,
        *("model", "add", str(DATA / "squeezenet1.1.onnx"), "--labels", str(DATA / "imagenet_labels.json")),
        *("--preprocessing", "raw", "--json"),
    )
    assert added.returncode == 0, added.stderr
    assert json.loads(added.stdout)["provider"] == "planner"

    again = await segue(address, "model", "add", str(DATA / "squeezenet1.1.onnx"), "--name", "other")
    assert again.returncode == ExitStatus.INPUT_WRONG
    assert "the fleet has this file as squeezenet1.1 already" in again.stderr

    listed = await segue(address, "model", "list", "--json")
    assert [model["name"] for model in json.loads(listed.stdout)] == ["squeezenet1.1"]

    mistyped = await segue(address, "stream", "add", "door", "--model", "squezenet", "--source", "pi")
    assert mistyped.returncode == ExitStatus.INPUT_WRONG
    assert "the fleet has no model squezenet, there are squeezenet1.1" in mistyped.stderr

    declared = await segue(address, "stream", "add", "door", "--model", "squeezenet1.1", "--source", "pi")
    assert declared.returncode == 0, declared.stderr
    assert "door: pi[0,24)" in declared.stdout

    submitted = await segue(address, "submit", str(CAT), "--stream", "door", "--json")
    assert submitted.returncode == 0, submitted.stderr
    (answer,) = json.loads(submitted.stdout)
    assert answer["status"] == "ok"
    assert len(answer["top"]) == 5
    assert answer["trace"][0]["device"] == "pi"

    broken = await segue(address, "submit", __file__, "--stream", "door")
    assert broken.returncode == ExitStatus.FAILED
    assert "bad_input" in broken.stderr

    nowhere = await segue(address, "submit", str(CAT), "--stream", "window")
    assert nowhere.returncode == ExitStatus.INPUT_WRONG
    assert "there is no stream window" in nowhere.stderr

    refused = await segue(address, "policy", "set", "door", "--allow", "nobody", "--deny", "nobody")
    assert refused.returncode == ExitStatus.INFEASIBLE
    assert len(refused.stderr.splitlines()) >= 2

    accepted = await segue(address, "policy", "set", "door", "--deadline-ms", "60000")
    assert accepted.returncode == 0, accepted.stderr
    assert accepted.stdout == "accepted\n"
    early = await segue(address, "policy", "set", "window", "--deadline-ms", "60000")
    assert early.returncode == 0, early.stderr
    assert "there is no stream window yet" in early.stdout
    shown = await segue(address, "policy", "show", "door", "--json")
    assert json.loads(shown.stdout)["policy"]["deadline_ms"] == 60000

    seen = await segue(address, "top", "--json")
    assert json.loads(seen.stdout)["devices"]["pi"]["online"] is True

    removed = await segue(address, "stream", "remove", "door")
    assert removed.returncode == 0, removed.stderr
    left = await segue(address, "stream", "list", "--json")
    assert json.loads(left.stdout) == []
    again = await segue(address, "stream", "remove", "door")
    assert again.returncode == ExitStatus.INPUT_WRONG
