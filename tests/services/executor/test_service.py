"""An executor in this process, watched for calls that block the event loop."""

import asyncio
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from broker.embedded import EmbeddedBroker
from services.executor.config import ExecutorConfig
from services.executor.segments.profiler import sample_request
from services.executor.service import serve
from shared.bus import topics
from shared.bus.connection import Connection
from shared.client import Client
from shared.exit_status import InputError
from shared.messages.devices import Presence, State
from shared.messages.models import Manifest
from shared.messages.requests import OutcomeStatus
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage, StreamDeclaration


async def presence(ear: Connection, state: State) -> Presence:
    async for received in ear:
        found = Presence.decode(received.payload)
        if found.state is state:
            return found
    raise AssertionError("unreachable")


async def test_an_executor_never_blocks_its_loop_and_says_goodbye(manifest: Manifest, tmp_path: Path) -> None:
    async with asyncio.timeout(40), EmbeddedBroker() as broker, Connection.open(broker.settings) as ear:
        await ear.subscribe(topics.presence("d"))
        config = ExecutorConfig("d", broker.settings, data_dir=tmp_path, lock_path=tmp_path / "lock")
        plan = CommittedPlan(
            stream="s",
            epoch=1,
            model=manifest.model,
            source="d",
            strategy="test",
            routes=(PlanRoute(stages=(PlanStage(start=0, stop=len(manifest.blocks), device="d"),)),),
        )
        declaration = StreamDeclaration(stream="s", model=manifest.model, source="d")
        await ear.publish(topics.manifest(manifest.model), manifest.encode(), retain=True)
        await ear.publish(topics.stream("s"), declaration.encode(), retain=True)
        await ear.publish(topics.plan("s"), plan.encode(), retain=True)
        photograph = sample_request(manifest)
        with blockbuster_ctx("services.executor") as blockbuster:
            # It guards itself against slow disks.
            blockbuster.functions["os.write"].can_block_in("services/executor/source/outcome_log.py", {"append"})
            async with asyncio.TaskGroup() as group:
                executor = group.create_task(serve(config))
                online = await presence(ear, State.ONLINE)
                async with Client.open(broker.settings) as client:
                    outcomes = await client.submit_many("s", [photograph] * 10)
                assert all(getattr(outcome, "status", None) is OutcomeStatus.OK for outcome in outcomes)
                executor.cancel()
                assert (await presence(ear, State.OFFLINE)).boot_id == online.boot_id


async def test_a_second_executor_of_the_same_name_leaves_it_to_the_first(tmp_path: Path) -> None:
    async with asyncio.timeout(60), EmbeddedBroker() as broker, Connection.open(broker.settings) as ear:
        await ear.subscribe(topics.presence("d"))

        def config(folder: str) -> ExecutorConfig:
            return ExecutorConfig("d", broker.settings, data_dir=tmp_path / folder, lock_path=tmp_path / "lock")

        async with asyncio.TaskGroup() as group:
            first = group.create_task(serve(config("first")))
            there = await presence(ear, State.ONLINE)
            with pytest.raises(InputError, match="another executor is device d already"):
                await serve(config("second"))
            await ear.unsubscribe(topics.presence("d"))
            await ear.subscribe(topics.presence("d"))
            while (await presence(ear, State.ONLINE)).boot_id != there.boot_id:
                pass
            assert not first.done()
            first.cancel()
