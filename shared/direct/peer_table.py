"""Decides which peers a device is connected to directly, and when a failed connection is tried again.

A state machine without I/O: methods take events and return what to do.

    state      event                                          next state
    ---------  ---------------------------------------------  ------------------------------------------------------
    IDLE       wanted: named by a plan, or a frame is sent     DIALLING: Dial
    DIALLING   dialled                                         CONNECTED
               failed                                          RESTING, longer after each failure
    CONNECTED  lost after less than `Backoff`'s stable time    RESTING, longer after each failure
               lost later                                      RESTING for the shortest pause
               not wanted for `idle_s`                         IDLE: HangUp
    RESTING    tick after the pause, wanted                    DIALLING: Dial
               tick after the pause, not wanted                IDLE
    every      offline, restarted, other access                IDLE under the new access (HangUp if connected)
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from shared.bus.backoff import Backoff
from shared.messages.devices import DirectAccess

MAX_PEERS: Final = 256
_SHORTEST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
# A connection that no plan needs and no frame used for this time is closed.
_IDLE_S: Final = 60.0


class PeerState(Enum):
    """State of the connection to one peer."""

    IDLE = auto()
    DIALLING = auto()
    CONNECTED = auto()
    RESTING = auto()


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """One run of a peer's executor, and how to reach it.

    Attributes:
        device: its name.
        boot_id: new at every start.
        access: its endpoints.
    """

    device: str
    boot_id: str
    access: DirectAccess


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect to a peer, and report `dialled` or `failed`."""

    peer: PeerIdentity


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the connection to a peer, or stop connecting."""

    device: str


PeerAction = Dial | HangUp


@dataclass(slots=True)
class _Peer:
    identity: PeerIdentity
    backoff: Backoff = field(default_factory=lambda: Backoff(_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S))
    state: PeerState = PeerState.IDLE
    wanted_until_s: float = float("-inf")
    rests_until_s: float = 0.0
    connected_s: float = 0.0


class PeerTable:
    """The peers of a device that have endpoints. Times are monotonic seconds.

    Invariant: at most one connection per peer is being made or held. Events of an earlier run of a peer are ignored.
    """

    def __init__(self, device: str) -> None:
        """Begin without peers; `device` is this device's name."""
        self._device = device
        self._peers: dict[str, _Peer] = {}
        self._planned: frozenset[str] = frozenset()
        # Seeded by name: the pauses of devices that lose a peer together differ, and tests repeat exactly.
        self._random = random.Random(device)

    def identity(self, device: str) -> PeerIdentity | None:
        """Return the present run of a peer; None if it has no endpoints."""
        peer = self._peers.get(device)
        return None if peer is None else peer.identity

    def certificates(self) -> dict[str, bytes]:
        """Return the certificates of the peers that have one, by name."""
        return {
            device: peer.identity.access.certificate
            for device, peer in self._peers.items()
            if peer.identity.access.certificate
        }

    def state(self, device: str) -> PeerState:
        """Return the state of the connection to a peer; IDLE for one without endpoints."""
        peer = self._peers.get(device)
        return PeerState.IDLE if peer is None else peer.state

    def announced(self, device: str, boot_id: str, access: DirectAccess | None, now_s: float) -> list[PeerAction]:
        """Take a presence: the peer's run and endpoints, None for a peer that is offline or has none."""
        known = self._peers.get(device)
        identity = None if access is None else PeerIdentity(device, boot_id, access)
        if device == self._device or (known is not None and known.identity == identity):
            return []
        actions: list[PeerAction] = []
        if known is not None:
            del self._peers[device]
            if known.state in (PeerState.DIALLING, PeerState.CONNECTED):
                actions.append(HangUp(device))
        if identity is not None and len(self._peers) < MAX_PEERS:
            wanted_until_s = float("-inf") if known is None else known.wanted_until_s
            self._peers[device] = _Peer(identity, wanted_until_s=wanted_until_s)
            actions += self.tick(now_s)
        return actions

    def planned(self, devices: Iterable[str], now_s: float) -> list[PeerAction]:
        """Take the receivers of this device's frames by the plans in force."""
        self._planned = frozenset(devices)
        return self.tick(now_s)

    def asked(self, device: str, now_s: float) -> list[PeerAction]:
        """Take that a frame is to be sent to a peer, which need not be in a plan."""
        peer = self._peers.get(device)
        if peer is None:
            return []
        peer.wanted_until_s = now_s + _IDLE_S
        return self.tick(now_s) if peer.state is PeerState.IDLE else []

    def dialled(self, identity: PeerIdentity, now_s: float) -> bool:
        """Take a new connection; return False if it is to be closed, because the peer has changed meanwhile."""
        peer = self._current(identity, PeerState.DIALLING)
        if peer is None:
            return False
        peer.state, peer.connected_s = PeerState.CONNECTED, now_s
        return True

    def failed(self, identity: PeerIdentity, now_s: float) -> None:
        """Take that no connection could be made."""
        peer = self._current(identity, PeerState.DIALLING)
        if peer is not None:
            self._rest(peer, now_s)

    def lost(self, identity: PeerIdentity, now_s: float) -> None:
        """Take that a connection has ended."""
        peer = self._current(identity, PeerState.CONNECTED)
        if peer is not None:
            peer.backoff.connection_ended(now_s - peer.connected_s)
            self._rest(peer, now_s)

    def tick(self, now_s: float) -> list[PeerAction]:
        """Return what is due."""
        actions: list[PeerAction] = []
        for device, peer in self._peers.items():
            is_wanted = device in self._planned or now_s < peer.wanted_until_s
            if peer.state is PeerState.RESTING and now_s >= peer.rests_until_s:
                peer.state = PeerState.IDLE
            if peer.state is PeerState.IDLE and is_wanted:
                peer.state = PeerState.DIALLING
                actions.append(Dial(peer.identity))
            elif peer.state is PeerState.CONNECTED and not is_wanted:
                peer.state = PeerState.IDLE
                actions.append(HangUp(device))
        return actions

    def _current(self, identity: PeerIdentity, state: PeerState) -> _Peer | None:
        peer = self._peers.get(identity.device)
        return peer if peer is not None and peer.identity == identity and peer.state is state else None

    def _rest(self, peer: _Peer, now_s: float) -> None:
        peer.state = PeerState.RESTING
        peer.rests_until_s = now_s + peer.backoff.next_pause_s(self._random)
