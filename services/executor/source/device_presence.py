"""Presence of the devices on a source's routes: which are online, and when requests on them are lost."""

from dataclasses import dataclass, field

from shared.messages.streams import PlanRoute


@dataclass(slots=True)
class DevicePresence:
    """Last known boot ids of the other devices; `SourceState` feeds it.

    A device that was never seen counts as online: its presence may not have arrived yet.

    Attributes:
        own_device: name of the source device. Its own presence is irrelevant: this code runs on it.
    """

    own_device: str
    # None for a device that is offline.
    _boots: dict[str, str | None] = field(default_factory=dict, init=False)

    def update(self, device: str, boot_id: str | None) -> str | None:
        """Store a device's presence; return why requests on it are lost, None if they are not.

        A new boot id without an offline message in between is a quick restart, which loses requests as well. The first
        presence of an online device loses nothing. A device that is already offline has lost its requests before.
        """
        is_known = device in self._boots
        before = self._boots.get(device)
        self._boots[device] = boot_id
        if boot_id is None:
            return None if is_known and before is None else f"{device} went offline"
        return f"{device} was restarted" if before is not None and before != boot_id else None

    def is_usable(self, route: PlanRoute) -> bool:
        """Return whether no device of a route is offline."""
        return all(
            device == self.own_device or self._boots.get(device, "") is not None for device in stage_devices(route)
        )


def stage_devices(route: PlanRoute) -> set[str]:
    """Return the names of the devices that compute a stage of a route, or a tile of one."""
    return {device for stage in route.stages for device in stage.devices}
