"""Values derived from a fleet's description."""

from dataclasses import replace

import pytest

from services.cli.testbed.fleet_description import (
    DeviceDescription,
    Fleet,
    LinkDescription,
    ModelDescription,
    PhaseDescription,
    StreamSetup,
)
from shared.policy import CodecMode, Policy

FLEET = Fleet(
    model=ModelDescription("m.onnx"),
    stream=StreamSetup("b", ("x.jpg",)),
    devices={"a": DeviceDescription(), "b": DeviceDescription()},
    phases=(PhaseDescription("steady", 5.0), PhaseDescription("slow", 6.0)),
)


def test_a_link_has_its_ends_in_alphabetical_order() -> None:
    assert LinkDescription(("b", "a"), 8.0).pair == LinkDescription(("a", "b"), 8.0).pair == ("a", "b")


@pytest.mark.parametrize(
    ("policy", "calibrates"),
    [
        (Policy(), False),
        (Policy(codec="raw"), False),
        (Policy(codec=CodecMode.LOSSLESS), True),
        (Policy(codec="uint8+zstd"), True),
        (Policy(min_top1_agreement=0.98), True),
        (Policy(max_relative_error=0.1), True),
    ],
)
def test_encodings_are_measured_for_a_policy_that_depends_on_them(policy: Policy, calibrates: bool) -> None:
    fleet = replace(FLEET, policy=policy)
    assert fleet.calibrates is calibrates
    assert fleet.with_calibration(True).calibrates
    assert not fleet.with_calibration(False).calibrates


def test_phases_can_all_be_given_one_duration() -> None:
    assert [phase.duration_s for phase in FLEET.with_phase_s(2.0).phases] == [2.0, 2.0]
    assert [phase.name for phase in FLEET.with_phase_s(2.0).phases] == ["steady", "slow"]
