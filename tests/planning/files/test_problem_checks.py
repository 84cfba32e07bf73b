import json
from typing import Any

import pytest

from planning.files.json_document import InvalidDocumentError
from planning.files.problem_file import read_problem
from tests.support.shared_paths import INSTANCES


def _values() -> dict[str, Any]:
    values: dict[str, Any] = json.loads((INSTANCES / "alexnet_pi_cloud_wifi.json").read_text())
    return values


def _set(path: str, value: object) -> dict[str, Any]:
    values = _values()
    *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    place: Any = values
    for step in steps:
        place = place[step]
    place[last] = value
    return values


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("version", 2, "$.version: input should be 1"),
        ("links/0/bandwidth_mbps", -3, "$.links[0].bandwidth_mbps: input should be greater than or equal to 0.000001"),
        ("links/0/bandwidth_mbps", 0, "$.links[0].bandwidth_mbps: input should be greater than or equal to 0.000001"),
        ("links/0/bandwidth_mbps", float("nan"), "$.links[0].bandwidth_mbps: input should be a finite number"),
        ("links/0/bandwidth_mbps", "18", "$.links[0].bandwidth_mbps: input should be a valid number"),
        ("links/0/to", "pi", "$.links[0]: joins pi to itself"),
        ("links/0/to", "x", "$.links[0].to: there is no device x"),
        ("links/0/speed", 3, "$.links[0].speed: unknown key"),
        ("links", None, "$.links: input should be a valid tuple"),
        (
            "devices/pi/block_ms/alexnet",
            [1.0] * 3,
            "$.devices.pi.block_ms.alexnet: 3 values, but model alexnet has 11 blocks",
        ),
        ("devices/pi/block_ms/alexnet/3", None, "$.devices.pi.block_ms.alexnet[3]: input should be a valid number"),
        ("devices/pi/block_ms/lenet", [1.0], "$.devices.pi.block_ms.lenet: there is no model lenet"),
        (
            "devices/pi/memory_bytes",
            1e300,
            "$.devices.pi.memory_bytes: input should be less than or equal to 1000000000000000000",
        ),
        ("devices/pi/load_factor", True, "$.devices.pi.load_factor: input should be a valid number"),
        ("streams/0/jobs", 1.5, "$.streams[0].jobs: input should be a valid integer"),
        ("streams/0/jobs", 0, "$.streams[0].jobs: input should be greater than or equal to 1"),
        ("streams/0/jobs", 10**30, "$.streams[0].jobs: input should be less than or equal to 1000000"),
        ("devices/pi/untiled_models", ["lenet"], "$.devices.pi.untiled_models[0]: there is no model lenet"),
        ("streams/0/model", "lenet", "$.streams[0].model: there is no model lenet"),
        ("streams/0/sink", "x", "$.streams[0].sink: there is no device x"),
        ("streams", [], "$.streams: tuple should have at least 1 item after validation, not 0"),
        (
            "policy/objective",
            "speed",
            "$.policy.objective: input should be 'latency', 'throughput', 'energy', 'makespan',",
        ),
        ("policy/devices", {"deny": ["x"]}, "$.policy.devices.deny[0]: there is no device x"),
        ("policy/colour", 1, "$.policy.colour: unknown key"),
        (
            "models/alexnet/edges",
            [[1, 0, 5]],
            "$.models.alexnet.edges[0]: from block 1 to 0: blocks must be in running",
        ),
        ("models/alexnet/edges", [[0, 99, 5]], "$.models.alexnet.edges[0]: block 99 does not exist, the model has 11"),
        (
            "models/alexnet/blocks/2/output_bytes",
            -1,
            "$.models.alexnet.blocks[2].output_bytes: input should be greater",
        ),
    ],
)
def test_fault_has_its_path(path: str, value: object, fault: str) -> None:
    with pytest.raises(InvalidDocumentError) as caught:
        read_problem(json.dumps(_set(path, value)))
    assert [str(found)[: len(fault)] for found in caught.value.faults] == [fault]


def test_what_no_memory_could_hold_is_refused() -> None:
    values = _values()
    values["devices"] |= {f"d{index}": values["devices"]["cloud"] for index in range(990)}
    values["models"]["alexnet"]["blocks"] = values["models"]["alexnet"]["blocks"] * 10
    for device in values["devices"].values():
        device["block_ms"] = {"alexnet": [1.0] * 110}
    with pytest.raises(InvalidDocumentError, match=r"\$\.models\.alexnet: 110 blocks on 992 devices"):
        read_problem(json.dumps(values))


def _with_rows(rows: object, tables: object) -> dict[str, Any]:
    values = _set("models/alexnet/blocks/2/rows", rows)
    values["devices"]["pi"]["row_ms"] = {"alexnet": tables}
    return values


@pytest.mark.parametrize(
    ("rows", "tables", "fault"),
    [
        ({"kernel": 3}, [None] * 11, "$.models.alexnet.blocks[2].rows.output_rows: field required"),
        ({"output_rows": 0}, [None] * 11, "$.models.alexnet.blocks[2].rows.output_rows: input should be greater"),
        ({"output_rows": 9, "height": 1}, [None] * 11, "$.models.alexnet.blocks[2].rows.height: unknown key"),
        (
            {"output_rows": 27},
            [None, None, [[5, 1.0]]],
            "$.devices.pi.row_ms.alexnet: 3 tables, but model alexnet has 11 blocks: give null for the others",
        ),
        (
            {"output_rows": 27},
            [None, None, [[5, 1.0], [5, 2.0]], *[None] * 8],
            "$.devices.pi.row_ms.alexnet[2]: the numbers of rows must ascend",
        ),
        (
            {"output_rows": 27},
            [None, None, [[5, 1.0], [27, 2.0]], *[None] * 8],
            "$.devices.pi.row_ms.alexnet[2]: 27 of 27 rows: what all rows cost belongs to block_ms",
        ),
        (
            None,
            [None, None, [[5, 1.0]], *[None] * 8],
            "$.devices.pi.row_ms.alexnet[2]: block 2 of model alexnet has no rows: give its output_rows",
        ),
        (
            {"output_rows": 27},
            [None, None, [[5, -1.0]], *[None] * 8],
            "$.devices.pi.row_ms.alexnet[2][0][1]: input should be greater than or equal to 0",
        ),
    ],
)
def test_faults_of_rows(rows: object, tables: object, fault: str) -> None:
    with pytest.raises(InvalidDocumentError) as caught:
        read_problem(json.dumps(_with_rows(rows, tables)))
    assert [str(found)[: len(fault)] for found in caught.value.faults] == [fault]


def test_rows_of_an_unknown_model() -> None:
    values = _set("devices/pi/row_ms", {"lenet": [None]})
    with pytest.raises(InvalidDocumentError, match=r"\$\.devices\.pi\.row_ms\.lenet: there is no model lenet"):
        read_problem(json.dumps(values))


def test_every_fault_is_told() -> None:
    values = _set("links/0/to", "x")
    values["streams"].append(values["streams"][0])
    values["links"].append(values["links"][0])
    with pytest.raises(InvalidDocumentError) as caught:
        read_problem(json.dumps(values), strategies=["auto"])
    assert [fault.path for fault in caught.value.faults] == [
        "$.links[0].to",
        "$.links[1].to",
        "$.links[1]",
        "$.streams[1].name",
    ]
    with pytest.raises(InvalidDocumentError, match=r"\$\.policy\.strategy: there is no strategy auto; known: other"):
        read_problem(json.dumps(_values()), strategies=["other"])


def test_so_many_jobs_that_no_plan_could_be_told_are_refused() -> None:
    text = (INSTANCES / "two_cameras_one_server.json").read_bytes()
    values = json.loads(text)
    for stream in values["streams"]:
        stream["jobs"] = 600_000
    with pytest.raises(
        InvalidDocumentError, match=r"\$\.streams: 1200000 jobs of all streams together, more than 1000000"
    ):
        read_problem(json.dumps(values))
