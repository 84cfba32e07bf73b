"""Reading and checking of FLEET.toml."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from services.cli.support.manifest import Preset
from services.cli.testbed.fleet_file import image_files, parse_fleet, read_fleet
from shared.exit_status import InputError
from shared.messages.models import Preprocessing
from shared.policy import Objective
from tests.support.shared_paths import REPOSITORY

GOOD: dict[str, Any] = {
    "model": {"file": "m.onnx"},
    "stream": {"source": "a", "images": ["*.jpg"]},
    "devices": {"a": {"slowdown": 8.0}, "b": {}},
    "links": [{"between": ["b", "a"], "bandwidth_mbps": 20.0, "latency_ms": 3.0}],
    "policy": {"objective": "throughput"},
    "phases": [
        {"name": "steady", "duration_s": 5.0},
        {"name": "bad", "duration_s": 5.0, "load": {"in-use": 6.0}, "kill": "b", "expect_reroute": True},
    ],
}


def changed(**changes: Any) -> dict[str, Any]:
    return {**deepcopy(GOOD), **changes}


def faults_of(document: dict[str, Any]) -> list[str]:
    with pytest.raises(InputError) as caught:
        parse_fleet(document, origin="F")
    return [line.removeprefix("F: ") for line in str(caught.value).splitlines()]


def test_a_good_description_becomes_frozen_values() -> None:
    fleet = parse_fleet(GOOD, origin="F")
    assert fleet.devices["a"].slowdown == 8
    assert fleet.links[0].pair == ("a", "b")
    assert fleet.policy.objective is Objective.THROUGHPUT
    assert fleet.phases[1].load == {"in-use": 6.0}
    assert fleet.emulated


def test_every_phase_can_be_given_another_length() -> None:
    assert [phase.duration_s for phase in parse_fleet(GOOD, origin="F").with_phase_s(2.0).phases] == [2.0, 2.0]


@pytest.mark.parametrize(
    ("preprocessing", "expected"),
    [
        ("unit", Preset.UNIT),
        ({"mean": [1.0, 2.0, 3.0]}, Preprocessing(kind="image", mean=(1.0, 2.0, 3.0))),
    ],
)
def test_preprocessing_is_a_preset_or_fields(preprocessing: Any, expected: Any) -> None:
    fleet = parse_fleet(changed(model={"file": "m.onnx", "preprocessing": preprocessing}), origin="F")
    assert fleet.model.preprocessing == expected


@pytest.mark.parametrize(
    ("document", "key"),
    [
        (changed(stream={"source": "c", "images": ["x"]}), "stream.source"),
        (changed(stream={"source": "a", "images": []}), "stream.images"),
        (changed(devices={"a": {"slowdown": 0.5}}), "devices.a.slowdown"),
        (changed(devices={"a": {"slowdwon": 2}}), "devices.a.slowdwon"),
        (changed(devices={"a": {}, "b": {}, "in-use": {}}), "devices.in-use"),
        (changed(devices={"a": {}, "b": {}, "c d": {}}), "devices.c d"),
        (changed(links=[{"between": ["a", "c"], "bandwidth_mbps": 1.0}]), "links.0.between"),
        (changed(links=[{"between": ["a", "a"], "bandwidth_mbps": 1.0}], phases=[]), "links.0.between"),
        (changed(links=[{"between": ["a", "b"], "bandwidth_mbps": -1.0}]), "links.0.bandwidth_mbps"),
        (changed(links=GOOD["links"] * 2), "links.1.between"),
        (changed(policy={"objective": "speed"}), "policy.objective"),
        (changed(phases=[{"name": "p", "duration_s": 0.0}]), "phases.0.duration_s"),
        (changed(phases=[{"name": "p", "duration_s": 1.0}] * 2), "phases.1.name"),
        (changed(phases=[{"name": "p", "duration_s": 1.0, "kill": "z"}]), "phases.0"),
        (changed(model={"file": "m.onnx", "preprocessing": {"maen": [0.0]}}), "model.preprocessing"),
        (changed(model={"file": "m.onnx", "preprocessing": "imagenett"}), "model.preprocessing: neither one of"),
        (changed(policy={"devices": {"deny": ["c"]}}), "policy.devices.deny: 'c' is not among the devices (a, b)"),
        (changed(policy={"devices": {"allow": ["c"]}}), "policy.devices.allow"),
        (changed(devices={"a": {"slowdwon": 2}}), "devices.a.slowdwon: unknown key"),
        (changed(emulated=False), "links"),
        (changed(policy={"strategy": "mlip"}), "policy.strategy: there is no mlip (did you mean milp?); known: "),
        (changed(devices={"a": {"power_active_w": -1.0}}), "devices.a.power_active_w"),
    ],
)
def test_a_fault_is_named_with_the_path_of_its_key(document: dict[str, Any], key: str) -> None:
    assert any(fault.startswith(f"{key}") for fault in faults_of(document))


def test_all_faults_are_told_at_once() -> None:
    document = changed(stream={"source": "c", "images": ["x"]}, phases=[{"name": "p", "duration_s": 1.0, "kill": "z"}])
    assert len(faults_of(document)) == 2


def test_a_link_of_a_phase_must_be_one_of_the_fleet() -> None:
    phase = {"name": "p", "duration_s": 1.0, "links": [{"between": ["a", "b"], "bandwidth_mbps": 1.0}]}
    assert faults_of(changed(links=[], phases=[phase])) == [
        "phases.0.links.0.between: a and b have no link that could change"
    ]


def test_files_are_looked_for_beside_the_description(tmp_path: Path) -> None:
    description = tmp_path / "fleet.toml"
    description.write_text(
        '[model]\nfile = "m.onnx"\n[stream]\nsource = "a"\nimages = ["pictures/*.jpg", "b.png"]\n[devices.a]\n'
    )
    with pytest.raises(InputError) as caught:
        read_fleet(description)
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "model.file",
        "stream.images.0",
        "stream.images.1",
    ]
    (tmp_path / "pictures").mkdir()
    for name in ("m.onnx", "b.png", "pictures/2.jpg", "pictures/1.jpg"):
        (tmp_path / name).write_bytes(b"x")
    fleet = read_fleet(description)
    assert [file.name for file in image_files(fleet, tmp_path)] == ["1.jpg", "2.jpg", "b.png"]


def images_of(folder: Path, *patterns: str) -> list[str]:
    fleet = parse_fleet(changed(stream={"source": "a", "images": list(patterns)}), origin="f")
    return [str(file.relative_to(folder)) for file in image_files(fleet, folder)]


def test_a_folder_and_a_name_with_brackets_mean_what_they_say(tmp_path: Path) -> None:
    for name in (
        "set[1]/b.jpg",
        "set[1]/a.PNG",
        "set[1]/notes.txt",
        "set1/c.jpg",
        "x[2].jpg",
        "x2.jpg",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert images_of(tmp_path, "set[1]") == ["set[1]/a.PNG", "set[1]/b.jpg"]
    assert images_of(tmp_path, "set[1]/*.jpg") == ["set[1]/b.jpg"]
    assert images_of(tmp_path, "x[2].jpg") == ["x[2].jpg"]
    assert images_of(tmp_path, "x[0-9].jpg", "s*1/c.jpg") == ["x2.jpg", "set1/c.jpg"]
    assert images_of(tmp_path, str(tmp_path / "set[1]" / "*.jpg")) == ["set[1]/b.jpg"]
    assert images_of(tmp_path, "none", "none/*.jpg") == []


@pytest.mark.parametrize("content", ["model = [", "\udcff"])
def test_what_is_not_toml_is_said_so(tmp_path: Path, content: str) -> None:
    description = tmp_path / "fleet.toml"
    description.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"is not TOML|is no text"):
        read_fleet(description)


def test_a_missing_description_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_fleet(tmp_path / "none.toml")


@pytest.mark.parametrize("file", ["examples/fleet.toml", "services/cli/data/demo.toml"])
def test_the_descriptions_that_are_shipped_are_good(file: str) -> None:
    fleet = read_fleet(REPOSITORY / file)
    assert len(fleet.devices) >= 2


@pytest.mark.parametrize(
    ("policy", "calibrate", "expected"),
    [
        ({}, None, False),
        ({"codec": "raw"}, None, False),
        ({"codec": "lossless"}, None, True),
        ({"codec": "uint8"}, None, True),
        ({"min_top1_agreement": 0.9}, None, True),
        ({"max_relative_error": 0.1}, False, False),
        ({}, True, True),
    ],
)
def test_encodings_are_measured_if_that_is_said_or_the_policy_speaks_of_them(
    policy: dict[str, Any], calibrate: bool | None, expected: bool
) -> None:
    model = {"file": "m.onnx"} | ({} if calibrate is None else {"calibrate": calibrate})
    fleet = parse_fleet(changed(policy=policy, model=model), origin="F")
    assert fleet.calibrates is expected
    assert fleet.with_calibration(not expected).calibrates is not expected


def test_the_folder_of_the_calibration_set_has_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    (tmp_path / "a.jpg").touch()
    (tmp_path / "fleet.toml").write_text(
        '[model]\nfile = "m.onnx"\ncalibration_images = "none"\n'
        '[stream]\nsource = "a"\nimages = ["*.jpg"]\n[devices.a]\n'
    )
    with pytest.raises(InputError, match=r"model\.calibration_images: there is no folder .*none"):
        read_fleet(tmp_path / "fleet.toml")


def test_a_bandwidth_is_assumed_for_metered_devices_only() -> None:
    devices = {"a": {}, "b": {"assumed_mbps": 5.0}}
    (fault,) = faults_of(changed(devices=devices))
    assert fault.startswith("devices.b.assumed_mbps: needs `metered = true`")
    assert parse_fleet(changed(devices=devices, metered=True), origin="F").devices["b"].assumed_mbps == 5.0
