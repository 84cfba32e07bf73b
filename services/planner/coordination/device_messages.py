"""Effects of messages from devices and their executors, and of commands that a device has not answered."""

from dataclasses import dataclass

from services.planner.coordination import epoch_events as ev
from services.planner.coordination.effects import Effect, announcement, retained
from services.planner.coordination.fleet_state import FleetState
from services.planner.coordination.planned_streams import PlannedStreams
from services.planner.coordination.shadow_reports import withdrawn
from services.planner.inbound import DeviceMessage
from shared.bus import topics
from shared.messages.calibration import ShadowReport
from shared.messages.control import Preparing, ProfileFailed, Ready, Rejected
from shared.messages.devices import Links, Presence, Profile, State, Telemetry
from shared.messages.events import EventKind
from shared.messages.streams import StreamUsage


@dataclass(frozen=True, slots=True)
class DeviceMessages:
    """Applies messages of devices to the owners of the state; it has no state of its own.

    Attributes:
        planner: name of the planner; origin of events.
        public_key: of the planner's signatures; empty if it does not sign.
        fleet: devices, links and models.
        streams: every stream, and the answers that devices owe.
    """

    planner: str
    public_key: str
    fleet: FleetState
    streams: PlannedStreams

    def received(self, message: DeviceMessage, now_s: float) -> list[Effect]:
        """Take a message of a device or of its executor."""
        match message:
            case Presence():
                self.streams.responses.received(message.device)
                return self._presence(self._followed(message), now_s)
            case Preparing() | Ready() | Rejected():
                self.streams.responses.received(message.device)
                return self._report(message, now_s)
            case ProfileFailed(device=device, model=model, reason=reason):
                self.fleet.profile_failed(device, model, reason)
                self.streams.replan_all(now_s)
                text = f"device {device} cannot measure model {model[:12]}: {reason}"
                return [self._event(EventKind.FAILURE, text, now_s, device=device)]
            case StreamUsage():
                return self._usage(message, now_s)
            case Telemetry() | Links() | Profile():
                self.fleet.apply(message, now_s)
                self.streams.replan_all(now_s)
                return []
            case ShadowReport():
                return self._shadow(message, now_s)

    def expire(self, now_s: float) -> list[Effect]:
        """Declare the devices offline that have not answered a command in time, on the bus too."""
        effects: list[Effect] = []
        for device in self.streams.responses.take_due(now_s):
            offline = Presence(device=device, state=State.OFFLINE, boot_id=self.fleet.snapshot.device(device).boot_id)
            effects += [retained(topics.presence(device), offline), *self._presence(offline, now_s, _silence(device))]
        return effects

    def _followed(self, presence: Presence) -> Presence:
        """Return a presence; of a device that follows another planner, that it is offline, and why."""
        key = self.public_key
        if not presence.planner_keys or not key or key in presence.planner_keys:
            return presence
        trouble = (
            f"it follows planner key {', '.join(presence.planner_keys)} only. If this planner is the right one, run on "
            f"the device: segue device trust {presence.device} {key}"
        )
        return presence.model_copy(update={"state": State.OFFLINE, "trouble": trouble})

    def _presence(self, presence: Presence, now_s: float, how_lost: str = "is gone") -> list[Effect]:
        name = presence.device
        before = self.fleet.snapshot.devices.get(name)
        self.fleet.apply(presence, now_s)
        after = self.fleet.snapshot.device(name)
        effects: list[Effect] = []
        event: ev.EpochEvent = ev.DeviceLost(name)
        if after.online:
            restarted = before is not None and before.boot_id not in ("", after.boot_id)
            event = ev.DeviceOnline(name, restarted)
            # A device that only its monitor has reported so far has not been away.
            if before is not None and before.presence_changed_at_s is not None and (restarted or not before.online):
                text = f"device {name} {'was restarted' if restarted else 'is back'}"
                effects.append(self._event(EventKind.DEVICE_BACK, text, now_s, device=name))
        elif before is not None and before.online:
            effects.append(self._event(EventKind.DEVICE_LOST, f"device {name} {how_lost}", now_s, device=name))
        elif presence.planner_keys and after.trouble and (before is None or before.trouble != after.trouble):
            effects.append(self._event(EventKind.FAILURE, f"device {name}: {after.trouble}", now_s, device=name))
        # First, streams with the lost device in their proposal end it. Then the proposals in the groups of streams that
        # run on it end, because they would delay the move to other routes.
        effects += self.streams.advance_all(event, now_s)
        if not after.online:
            effects += self.streams.abandon_users_of(name, self.fleet.snapshot, now_s)
        self.streams.replan_all(now_s)
        return effects

    def _report(self, report: Preparing | Ready | Rejected, now_s: float) -> list[Effect]:
        state = self.streams.get(report.stream)
        event: ev.EpochEvent
        match report:
            case Preparing():
                return []
            case Ready(device=device, epoch=epoch):
                event = ev.ReadyFrom(device, epoch)
            case Rejected(device=device, epoch=epoch, cause=cause, reason=reason):
                event = ev.RejectedBy(device, epoch, cause, reason)
        return [] if state is None else self.streams.perform(state.advance(event, now_s), now_s)

    def _usage(self, usage: StreamUsage, now_s: float) -> list[Effect]:
        figures = usage.model_copy(update={"measured": None})
        # Latencies come every second. Only new figures change a problem.
        if figures != self.fleet.snapshot.usage.get(usage.stream):
            self.fleet.apply(figures, now_s)
            self.streams.replan_all(now_s)
        state = self.streams.get(usage.stream)
        if usage.measured is None or state is None:
            return []
        return self.streams.perform(state.latencies_seen(usage.measured, now_s), now_s)

    def _shadow(self, report: ShadowReport, now_s: float) -> list[Effect]:
        before = self.fleet.snapshot
        self.fleet.apply(report, now_s)
        events: list[Effect] = []
        for stream, text in withdrawn(before, self.fleet.snapshot, report):
            events.append(self._event(EventKind.CODEC_WITHDRAWN, text, now_s, stream=stream))
            self.streams.replan(stream, now_s)
        return self.fleet.shadow_reported(report, now_s, is_urgent=bool(events)) + events

    def _event(self, kind: EventKind, text: str, now_s: float, **details: object) -> Effect:
        return announcement(self.planner, kind, text, now_s, **details)


def _silence(device: str) -> str:
    return (
        f"does not answer commands (it must be allowed to read {topics.commands(device)} and to write "
        f"{topics.reports(device)})"
    )
