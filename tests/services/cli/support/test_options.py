"""Checks of option values that several commands share."""

import pytest

from services.cli.support.options import broker_settings, check_name, check_stream_name, read_input_shapes
from shared.bus.errors import SettingsError
from shared.exit_status import InputError


def test_names_follow_the_rule_of_the_bus() -> None:
    check_name("front-door_2.a")
    check_stream_name("front-door_2.a")
    for name in ("", "a b", "a/b", "-a", "x" * 65):
        with pytest.raises(InputError, match="is no name"):
            check_name(name)
        with pytest.raises(InputError, match="is no stream name"):
            check_stream_name(name)


def test_input_shapes_are_read_by_name() -> None:
    assert read_input_shapes(None) == {}
    assert read_input_shapes(["x=1,3,224,224", "a=b=2"]) == {"x": (1, 3, 224, 224), "a=b": (2,)}


@pytest.mark.parametrize("option", ["32", "x=a,b", "=1,3", "x="])
def test_a_malformed_input_shape_is_refused(option: str) -> None:
    with pytest.raises(InputError, match="not of the form name=1,3,224,224"):
        read_input_shapes([option])


def test_a_malformed_address_is_refused() -> None:
    assert broker_settings("mqtt://localhost:1884", False).port == 1884
    with pytest.raises(SettingsError, match="unknown scheme"):
        broker_settings("http://x", False)
