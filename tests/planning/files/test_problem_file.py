import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planning.files.problem_file import (
    MAX_FILE_BYTES,
    InvalidDocumentError,
    json_path,
    problem_schema,
    problem_values,
    read_problem,
    write_problem,
)
from planning.problem.problem import Block, CodecProfile, Device, Link, Model, Problem, RowProfile, Stream
from shared.policy import CodecMode, DeviceRule, Objective, Policy, QueueDiscipline
from tests.support.shared_paths import INSTANCES

NAMES = st.text(min_size=1, max_size=8)
AMOUNT = st.floats(0, 1e12) | st.integers(0, 10**15).map(float)
RATE = st.floats(1e-3, 1e6)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    devices = draw(st.lists(NAMES, min_size=2, max_size=3, unique=True))
    codec = st.builds(CodecProfile, AMOUNT, AMOUNT, AMOUNT, st.none() | AMOUNT)
    rows = st.builds(RowProfile, *[st.integers(1, 300)] * 3, st.integers(0, 9), st.none() | AMOUNT)
    block = st.builds(
        Block,
        NAMES,
        AMOUNT,
        AMOUNT,
        AMOUNT,
        st.none() | AMOUNT,
        st.dictionaries(NAMES, codec, max_size=2),
        st.none() | rows,
    )
    blocks = tuple(draw(st.lists(block, min_size=1, max_size=4)))
    edges = None
    if len(blocks) > 1:
        edges = draw(st.none() | st.just(tuple((i, i + 1, 7.0) for i in range(len(blocks) - 1))))
    times = st.tuples(*[AMOUNT] * len(blocks))
    tables = st.tuples(*(_row_tables(block) for block in blocks))
    device = st.builds(
        Device,
        st.dictionaries(st.just("m"), times),
        RATE,
        AMOUNT,
        st.none() | AMOUNT,
        *[AMOUNT] * 4,
        RATE,
        st.dictionaries(st.just("m"), tables),
    )
    policy = st.builds(
        Policy,
        objective=st.sampled_from(Objective),
        deadline_ms=st.none() | RATE,
        devices=st.builds(DeviceRule, st.none() | st.just((devices[0],)), st.just((devices[1],))),
        raw_input_stays_on_source=st.booleans(),
        max_devices=st.none() | st.integers(1, 9),
        codec=st.sampled_from(CodecMode),
        queue=st.sampled_from(QueueDiscipline),
    )
    stream = st.builds(
        Stream,
        st.just("s"),
        st.just("m"),
        st.sampled_from(devices),
        st.none() | st.sampled_from(devices),
        st.integers(1, 99),
        st.none() | RATE,
        st.none() | RATE,
    )
    return Problem(
        {"m": Model(draw(AMOUNT), blocks, edges, draw(st.none() | st.integers(1, 999)))},
        {name: draw(device) for name in devices},
        (Link(devices[0], devices[1], draw(RATE), draw(AMOUNT)),),
        (draw(stream),),
        draw(policy),
    )


def _row_tables(block: Block) -> st.SearchStrategy[tuple[tuple[int, float], ...] | None]:
    """Tables of a block's time by rows: ascending, below all of its rows; none for blocks without rows."""
    most = block.rows.output_rows - 1 if block.rows else 0
    if most < 1:
        return st.none()
    points = st.lists(st.tuples(st.integers(1, most), AMOUNT), unique_by=lambda point: point[0], max_size=4)
    return st.none() | points.map(lambda found: tuple(sorted(found)))


@given(problems())
def test_round_trip(problem: Problem) -> None:
    assert read_problem(write_problem(problem)) == problem


def _values() -> dict[str, Any]:
    return json.loads((INSTANCES / "alexnet_pi_cloud_wifi.json").read_text())


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


def test_the_schema_knows_rows() -> None:
    values = _with_rows({"output_rows": 27, "kernel": 5, "padding": 2}, [None, None, [[5, 1.0]], *[None] * 8])
    assert read_problem(json.dumps(values)).devices["pi"].row_ms["alexnet"][2] == ((5, 1.0),)
    jsonschema.validate(values, problem_schema())
    values["devices"]["pi"]["row_ms"]["alexnet"][2] = [[0, 1.0]]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, problem_schema())


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


@pytest.mark.parametrize(
    "text", ["", "{", "7", '{"a": 1, "a": 2}', b"\xff\xfe\x00", "[" * 10**5, " " * (MAX_FILE_BYTES + 1)]
)
def test_what_is_no_document(text: str | bytes) -> None:
    with pytest.raises(InvalidDocumentError) as caught:
        read_problem(text)
    assert caught.value.faults[0].path == "$"


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_anything_reads_or_is_refused(document: str | bytes) -> None:
    with pytest.raises(InvalidDocumentError):
        read_problem(document)


def test_path_of_odd_keys() -> None:
    assert json_path(("devices", "pi", "block_ms", 3)) == "$.devices.pi.block_ms[3]"
    assert "\n" not in json_path(("a\nb",))


@pytest.mark.parametrize("path", sorted(INSTANCES.glob("*.json")), ids=lambda path: path.stem)
def test_instances_round_trip(path: Path) -> None:
    problem = read_problem(path.read_bytes())
    assert read_problem(json.dumps(problem_values(problem))) == problem


def test_so_many_jobs_that_no_plan_could_be_told_are_refused() -> None:
    text = (INSTANCES / "two_cameras_one_server.json").read_bytes()
    values = json.loads(text)
    for stream in values["streams"]:
        stream["jobs"] = 600_000
    with pytest.raises(
        InvalidDocumentError, match=r"\$\.streams: 1200000 jobs of all streams together, more than 1000000"
    ):
        read_problem(json.dumps(values))
