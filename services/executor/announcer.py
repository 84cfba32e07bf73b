"""Retained messages of this device, published after every connect: presence, profiles, usage of streams."""

import time

from services.executor.config import ExecutorConfig
from services.executor.device_resources import DeviceResources
from services.executor.outbox import Outbox, Publication
from services.executor.segments.profile_publisher import ProfilePublisher
from services.executor.source.sources import Sources
from shared.bus import topics
from shared.bus.connection import Connection
from shared.messages.bounds import MAX_LINE, clean_text
from shared.messages.devices import Presence, State
from shared.messages.events import EventKind
from shared.service_runtime import new_boot_id, segue_version


def first_presence(config: ExecutorConfig, resources: DeviceResources) -> Presence:
    """Return the presence of an executor that starts. Loads the engine, so never call it on the event loop."""
    return Presence(
        device=config.device,
        state=State.ONLINE,
        version=segue_version(),
        boot_id=new_boot_id(),
        transports=config.transports,
        capabilities=config.capabilities(resources),
    )


class Announcer:
    """Publishes the device's retained messages when it is ready, and again after every reconnect.

    The connection that it announces on is opened first, because most parts of the device need it. So the callback for
    connects (`announce`) exists before the profiles and sources do, and does nothing until `begin`. That order also
    excludes a race: the planner reacts to a presence immediately, and its commands are lost before the device is
    subscribed.
    """

    def __init__(self, presence: Presence) -> None:
        """Create an announcer that publishes nothing before `begin`."""
        self.presence = presence
        self._parts: tuple[ProfilePublisher, Sources] | None = None

    async def note_trouble(self, trouble: str, outbox: Outbox) -> None:
        """Publish the presence, and an event, if what keeps the device from accepting requests has changed."""
        trouble = clean_text(trouble, MAX_LINE)
        if trouble == self.presence.trouble:
            return
        self.presence = self.presence.model_copy(update={"trouble": trouble})
        device = self.presence.device
        text = trouble or f"device {device} accepts requests again"
        await outbox.report(EventKind.FAILURE, text, device=device)
        if self._parts is not None:
            await outbox.put(Publication(topics.presence(device), self.presence.encode(), retain=True))

    async def note_planner_keys(self, keys: tuple[str, ...], outbox: Outbox) -> None:
        """Publish the presence if the device follows other planners than before."""
        if keys == self.presence.planner_keys:
            return
        self.presence = self.presence.model_copy(update={"planner_keys": keys})
        if self._parts is not None:
            await outbox.put(Publication(topics.presence(self.presence.device), self.presence.encode(), retain=True))

    async def begin(self, connection: Connection, profiles: ProfilePublisher, sources: Sources) -> None:
        """Announce the device, which is subscribed to everything, now and after every reconnect."""
        self._parts = (profiles, sources)
        await self.announce(connection)

    async def announce(self, connection: Connection) -> None:
        """Publish all retained messages of the device."""
        if self._parts is None:
            # A connect before the device is ready; usually the first one.
            return
        profiles, sources = self._parts
        device = self.presence.device
        await connection.publish(topics.presence(device), self.presence.encode(), retain=True)
        for profile in profiles.messages():
            await connection.publish(topics.profiles(device, profile.model), profile.encode(), retain=True)
        for usage in sources.usages(time.monotonic(), changed_only=False):
            await connection.publish(topics.usage(usage.stream), usage.encode(), retain=True)
