import json
from contextlib import suppress
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planning.files.json_document import Fault, InvalidDocumentError
from planning.files.problem_file import read_problem
from planning.files.scenario_file import read_scenario, scenario_schema
from planning.simulation.arrivals import Recorded
from planning.simulation.scenario import BandwidthChange, LoadChange, Scenario, rate_changes
from tests.support.shared_paths import INSTANCES

PROBLEM = read_problem((INSTANCES / "alexnet_pi_cloud_wifi.json").read_bytes())
STORY: dict[str, Any] = {
    "description": "The cloud gets busy, the link sags, and is gone for a second.",
    "changes": [
        {"at_ms": 100, "device": "cloud", "load_factor": 3},
        {"at_ms": 200, "from": "pi", "to": "cloud", "bandwidth_mbps": 2.5},
        {"at_ms": 300, "device": "cloud", "gone": True},
        {"at_ms": 400, "from": "pi", "to": "cloud", "gone": True},
    ],
    "arrivals_ms": {"camera": [0, 12.5, 12.5]},
}


def test_a_story_is_read() -> None:
    assert read_scenario(json.dumps(STORY), PROBLEM) == Scenario(
        (
            LoadChange(100, "cloud", 3),
            BandwidthChange(200, "pi", "cloud", 2.5),
            LoadChange(300, "cloud", None),
            BandwidthChange(400, "pi", "cloud", None),
        ),
        {"camera": Recorded((0, 12.5, 12.5))},
    )
    assert read_scenario("{}", PROBLEM) == Scenario()
    jsonschema.validate(STORY, scenario_schema())


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ("", "$: not JSON"),
        ("[]", "$: expected an object"),
        ('{"changes": [], "changes": []}', "$: not JSON: key 'changes' is given twice"),
        ({"change": []}, "$.change: unknown key"),
        ({"changes": [{"device": "pi", "load_factor": 2}]}, "$.changes[0].at_ms: field required"),
        ({"changes": [{"at_ms": -1, "device": "pi", "load_factor": 2}]}, "$.changes[0].at_ms: input should be greater"),
        (
            {"changes": [{"at_ms": "5", "device": "pi", "load_factor": 2}]},
            "$.changes[0].at_ms: input should be a valid",
        ),
        ({"changes": [{"at_ms": 5, "device": "pi", "load_factor": 0}]}, "$.changes[0].load_factor: input should be"),
        ({"changes": [{"at_ms": 5, "device": "pi", "load": 2}]}, "$.changes[0].load: unknown key"),
        ({"changes": [{"at_ms": 5}]}, "$.changes[0]: give either device with load_factor, or from and to"),
        ({"changes": [{"at_ms": 5, "from": "pi", "bandwidth_mbps": 5}]}, "$.changes[0]: give either device"),
        ({"changes": [{"at_ms": 5, "device": "pi", "bandwidth_mbps": 5}]}, "$.changes[0]: give either device"),
        ({"changes": [{"at_ms": 5, "device": "pi"}]}, "$.changes[0]: give the device's load_factor, or gone"),
        (
            {"changes": [{"at_ms": 5, "device": "pi", "load_factor": 2, "gone": True}]},
            "$.changes[0]: give the device's load_factor, or gone: true, and not both",
        ),
        ({"changes": [{"at_ms": 5, "from": "pi", "to": "cloud"}]}, "$.changes[0]: give the link's bandwidth_mbps"),
        ({"changes": [{"at_ms": 5, "device": "moon", "gone": True}]}, "$.changes[0].device: there is no device moon"),
        (
            {"changes": [{"at_ms": 5, "from": "pi", "to": "moon", "gone": True}]},
            "$.changes[0]: there is no link from pi to moon",
        ),
        ({"arrivals_ms": {"moon": [0]}}, "$.arrivals_ms.moon: there is no stream moon"),
        ({"arrivals_ms": {"camera": [5, 1]}}, "$.arrivals_ms.camera: the times must ascend"),
        ({"arrivals_ms": {"camera": [None]}}, "$.arrivals_ms.camera[0]: input should be a valid number"),
    ],
)
def test_fault_has_its_path(document: str | dict[str, Any], fault: str) -> None:
    text = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(InvalidDocumentError) as caught:
        read_scenario(text, PROBLEM)
    assert [str(found)[: len(fault)] for found in caught.value.faults] == [fault]


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_anything_reads_or_is_refused(document: str | bytes) -> None:
    with suppress(InvalidDocumentError):
        assert read_scenario(document, PROBLEM) == Scenario()


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from(["pi", "cloud", "camera", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["at_ms", "device", "load_factor", "from", "to", "gone"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional={"changes": st.lists(VALUES, max_size=3), "arrivals_ms": VALUES}))
def test_any_values_read_or_are_refused_with_a_path(values: dict[str, Any]) -> None:
    faults: tuple[Fault, ...] = ()
    try:
        found = read_scenario(json.dumps(values), PROBLEM)
    except InvalidDocumentError as error:
        faults = error.faults
    else:
        rate_changes(PROBLEM, found.changes)
    assert all(fault.path.startswith("$") for fault in faults)
