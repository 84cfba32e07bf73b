"""A pipeline that keeps what sources hand to it."""

import asyncio
from dataclasses import dataclass, field

from services.executor.feature_maps import FeatureMap


@dataclass
class RecordingPipeline:
    """Plays the pipeline of a device for its sources."""

    dispatched: asyncio.Queue[FeatureMap] = field(default_factory=asyncio.Queue)
    cancelled: list[tuple[str, str]] = field(default_factory=list)

    async def dispatch(self, feature_map: FeatureMap) -> None:
        await self.dispatched.put(feature_map)

    def cancel(self, stream: str, request_id: str) -> None:
        self.cancelled.append((stream, request_id))

    async def next_request(self) -> str:
        return (await self.dispatched.get()).header.request_id
