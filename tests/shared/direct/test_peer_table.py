"""When a device connects to which peer."""

import pytest

from shared.direct.peer_table import MAX_PEERS, Dial, HangUp, PeerAction, PeerIdentity, PeerState, PeerTable
from shared.messages.devices import DirectAccess

ACCESS = DirectAccess(addresses=("192.0.2.7:4000",))
OTHER = DirectAccess(addresses=("192.0.2.7:4001",))


@pytest.fixture
def table() -> PeerTable:
    return PeerTable("me")


def dialled(actions: list[PeerAction]) -> Dial:
    """The only action, which is to connect."""
    (action,) = actions
    assert isinstance(action, Dial)
    return action


def connect(table: PeerTable, device: str, now_s: float) -> PeerIdentity:
    """Want a peer and connect to it."""
    dial = dialled(table.asked(device, now_s))
    assert table.dialled(dial.peer, now_s)
    return dial.peer


def test_a_peer_is_dialled_when_a_plan_names_it(table: PeerTable) -> None:
    assert table.announced("server", "b", ACCESS, 0.0) == []
    assert table.planned({"server", "unknown"}, 1.0) == [Dial(PeerIdentity("server", "b", ACCESS))]
    assert table.state("server") is PeerState.DIALLING
    assert table.planned({"server"}, 1.0) == table.asked("server", 1.0) == table.tick(9.0) == []


def test_a_peer_of_a_plan_is_dialled_when_it_appears(table: PeerTable) -> None:
    assert table.planned({"server"}, 0.0) == []
    assert table.announced("server", "b", ACCESS, 1.0) == [Dial(PeerIdentity("server", "b", ACCESS))]


def test_a_device_has_no_connection_to_itself(table: PeerTable) -> None:
    table.planned({"me"}, 0.0)
    assert table.announced("me", "b", ACCESS, 0.0) == []
    assert table.identity("me") is None


def test_failures_are_repeated_after_growing_pauses(table: PeerTable) -> None:
    table.planned({"server"}, 0.0)
    dial = dialled(table.announced("server", "b", ACCESS, 0.0))
    now_s, pauses_s = 0.0, []
    for _ in range(10):
        table.failed(dial.peer, now_s)
        assert table.state("server") is PeerState.RESTING
        begun_s = now_s
        while not (actions := table.tick(now_s)):
            now_s += 0.25
        assert actions == [dial]
        pauses_s.append(now_s - begun_s)
    assert pauses_s[0] <= 1.25
    assert 29.0 < pauses_s[-1] <= 60.25
    assert sum(pauses_s) < 400


def test_a_connection_that_lasted_is_made_again_soon(table: PeerTable) -> None:
    table.planned({"server"}, 0.0)
    dial = dialled(table.announced("server", "b", ACCESS, 0.0))
    for _ in range(6):
        table.failed(dial.peer, 0.0)
        table.tick(1000.0)
    assert table.dialled(dial.peer, 1000.0)
    table.lost(dial.peer, 1100.0)
    assert table.tick(1101.1) == [dial]
    # Twice in a short time: the pause grows again.
    table.dialled(dial.peer, 1101.1)
    table.lost(dial.peer, 1101.2)
    table.tick(1103.3)
    table.dialled(dial.peer, 1103.3)
    table.lost(dial.peer, 1103.4)
    assert table.tick(1105.3) == []


def test_an_unused_connection_is_closed_unless_a_plan_needs_it(table: PeerTable) -> None:
    table.announced("server", "b", ACCESS, 0.0)
    connect(table, "server", 0.0)
    table.asked("server", 50.0)
    assert table.tick(100.0) == []
    assert table.planned({"server"}, 105.0) == table.tick(1000.0) == []
    assert table.planned((), 1001.0) == [HangUp("server")]
    assert table.state("server") is PeerState.IDLE


@pytest.mark.parametrize(("boot_id", "access"), [("c", ACCESS), ("b", OTHER), ("b", None)])
def test_a_peer_that_restarts_or_goes_is_left(table: PeerTable, boot_id: str, access: DirectAccess | None) -> None:
    table.announced("server", "b", ACCESS, 0.0)
    old = connect(table, "server", 0.0)
    again: list[PeerAction] = [] if access is None else [Dial(PeerIdentity("server", boot_id, access))]
    assert table.announced("server", boot_id, access, 1.0) == [HangUp("server"), *again]
    # What the earlier connection reports no longer counts.
    table.lost(old, 1.0)
    table.failed(old, 1.0)
    assert not table.dialled(old, 1.0)
    assert table.state("server") is (PeerState.DIALLING if again else PeerState.IDLE)


def test_the_same_presence_again_changes_nothing(table: PeerTable) -> None:
    table.announced("server", "b", ACCESS, 0.0)
    connect(table, "server", 0.0)
    assert table.announced("server", "b", ACCESS, 1.0) == []
    assert table.state("server") is PeerState.CONNECTED


def test_the_number_of_peers_is_bounded(table: PeerTable) -> None:
    for number in range(MAX_PEERS + 1):
        table.announced(f"d{number}", "b", ACCESS, 0.0)
    assert table.identity(f"d{MAX_PEERS - 1}") is not None
    assert table.identity(f"d{MAX_PEERS}") is None
