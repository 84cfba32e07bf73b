"""Order of effects in the planner's service; the rest is tested end to end over a broker."""

import asyncio
from pathlib import Path

from services.planner.config import PlannerConfig
from services.planner.coordination.effects import Effect, Publish
from services.planner.coordination.planner_store import PlannerStore
from services.planner.service import _Planner
from services.planner.signer import Signer
from shared.bus.settings import BusSettings
from shared.duplicate_names import NameClaim
from shared.health.service_health import ServiceHealth
from shared.messages.devices import ServicePresence, State


async def test_effects_of_one_event_stay_together_in_a_full_queue(tmp_path: Path) -> None:
    store = PlannerStore(tmp_path)
    presence = ServicePresence(name="planner", role="planner", state=State.ONLINE)
    config = PlannerConfig(BusSettings(host="127.0.0.1"), tmp_path)
    claim, health = NameClaim.of_service(presence, ""), ServiceHealth("planner", "planner")
    planner = _Planner(config, store, claim, presence, Signer.open(tmp_path, "r"), health)
    planner._effects = asyncio.Queue(1)
    events = [[Publish(f"{event}/{number}", b"") for number in range(3)] for event in "abc"]
    performed: list[Effect] = []
    async with asyncio.TaskGroup() as group:
        for event in events:
            group.create_task(planner._put(event), name="put")
        while len(performed) < 9:
            performed.append(await planner._effects.get())
    assert performed == [effect for event in events for effect in event]
    store.close()
