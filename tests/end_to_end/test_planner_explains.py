"""`segue explain --stream` on a running planner."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from broker.embedded import EmbeddedBroker
from planning.strategies import strategies
from services.planner.config import PlannerConfig
from services.planner.service import serve
from tests.support.planner_fleet import Fleet, manifest_of, open_fleet

TIMEOUT_S = 60.0


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with EmbeddedBroker() as broker, open_fleet(broker.settings) as opened:
        planner = asyncio.create_task(serve(PlannerConfig(broker.settings, tmp_path, time_budget_s=0.1)))
        await opened.watcher.planner()
        yield opened
        planner.cancel()
        await asyncio.wait([planner], timeout=10.0)


async def segue(fleet: Fleet, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from services.cli.main import main; main()", *arguments),
        *("--broker", fleet.settings.address),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(TIMEOUT_S):
        out, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()


async def test_a_running_stream_is_explained_like_a_file_with_its_last_reroutes(fleet: Fleet) -> None:
    await fleet.come()
    await fleet.publish_manifest(manifest_of())
    await fleet.declare()
    await fleet.watcher.plan()
    await fleet.pi.set_links({"server": 1.0})
    moved = await fleet.watcher.plan(lambda plan: plan.epoch == 2)
    status, out, errors = await segue(fleet, "explain", "--stream", "camera", "--json", "--time-budget-s", "0.1")
    assert status == 0, errors
    told = json.loads(out)
    assert (told["stream"], told["epoch"]) == ("camera", 2)
    assert [each["strategy"] for each in told["strategies"]] == list(strategies())
    assert told["strategies"][0]["predicted"]["latency_ms"] == pytest.approx(moved.routes[0].predicted_ms)
    assert [each["cause"] for each in told["reroutes"]] == ["first_plan", "link_changed"]
    assert any(change["quantity"] == "bandwidth pi - server" for change in told["changes"]["camera"])
    status, out, _ = await segue(fleet, "explain", "--stream", "camera", "--time-budget-s", "0.1")
    assert status == 0
    assert "server fell from 50.0 to 1.0 Mbps: 823 ms -> 165 ms; server[0,5) => pi[0,5)" in out


async def test_streams_that_are_planned_together_are_explained_together(fleet: Fleet) -> None:
    await fleet.come()
    await fleet.publish_manifest(manifest_of())
    for stream in ("camera", "door"):
        await fleet.declare(stream)
        await fleet.set_policy(json.dumps({"objective": "total_delay", "revision": "r"}), stream)
        await fleet.watcher.plan_of(stream)
        await fleet.watcher.judged(stream, "r")
    status, out, errors = await segue(fleet, "explain", "--stream", "door", "--json", "--time-budget-s", "0.1")
    assert status == 0, errors
    told = json.loads(out)
    assert told["changes"].keys() == {"camera", "door"}
    best = next(each for each in told["strategies"] if each["strategy"] == "auto")
    assert best["objective"] == "total_delay"
    assert best["streams"].keys() == {"camera", "door"}
    assert best["cost"] == pytest.approx(39 + 60), "the second photograph is sent, and computed, after the first"
    status, out, _ = await segue(fleet, "explain", "--stream", "door", "--time-budget-s", "0.1")
    assert status == 0
    assert "kafetzis_koutsopoulos" in out


async def test_a_waiting_stream_gives_its_reasons_and_an_unknown_one_is_wrong_input(fleet: Fleet) -> None:
    await fleet.declare()
    await fleet.watcher.status(lambda status: bool(status.reasons))
    status, _, errors = await segue(fleet, "explain", "--stream", "camera")
    assert status == 3
    assert "source device pi is unknown" in errors
    status, _, errors = await segue(fleet, "explain", "--stream", "nobody")
    assert status == 2
    assert "there is no stream nobody" in errors


@pytest.mark.parametrize("name", ["decision.png", "decision.svg"])
async def test_a_running_stream_is_drawn(fleet: Fleet, tmp_path: Path, name: str) -> None:
    await fleet.come()
    await fleet.publish_manifest(manifest_of())
    await fleet.declare()
    plan = await fleet.watcher.plan()
    picture = tmp_path / name
    arguments = ("explain", "--stream", "camera", "--plot", str(picture), "--json", "--time-budget-s", "0.1")
    status, out, errors = await segue(fleet, *arguments)
    assert status == 0, errors
    assert json.loads(out)["strategies"][0]["predicted"]["latency_ms"] == pytest.approx(plan.routes[0].predicted_ms)
    drawn = picture.read_bytes()
    if name.endswith(".png"):
        assert drawn.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(drawn) > 10_000
    else:
        texts = " ".join(text for text in ElementTree.fromstring(drawn).itertext())
        assert "stream camera: routes over the bandwidth of its most critical link" in texts
        assert "now 50" in texts
        assert "[0,5) server" in texts
        assert "[0,5) pi" in texts


async def test_a_picture_of_a_stream_that_cannot_be_drawn_is_refused_at_once(fleet: Fleet) -> None:
    status, _, errors = await segue(fleet, "explain", "--stream", "camera", "--plot", "decision.gif")
    assert status == 2
    assert "has to end in .png, .svg or .html" in errors
