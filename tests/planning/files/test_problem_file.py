import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planning.files.json_document import InvalidDocumentError
from planning.files.problem_file import problem_schema, problem_values, read_problem, write_problem
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


def test_the_schema_knows_rows() -> None:
    values = json.loads((INSTANCES / "alexnet_pi_cloud_wifi.json").read_text())
    values["models"]["alexnet"]["blocks"][2]["rows"] = {"output_rows": 27, "kernel": 5, "padding": 2}
    values["devices"]["pi"]["row_ms"] = {"alexnet": [None, None, [[5, 1.0]], *[None] * 8]}
    assert read_problem(json.dumps(values)).devices["pi"].row_ms["alexnet"][2] == ((5, 1.0),)
    jsonschema.validate(values, problem_schema())
    values["devices"]["pi"]["row_ms"]["alexnet"][2] = [[0, 1.0]]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, problem_schema())


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_anything_reads_or_is_refused(document: str | bytes) -> None:
    with pytest.raises(InvalidDocumentError):
        read_problem(document)


@pytest.mark.parametrize("path", sorted(INSTANCES.glob("*.json")), ids=lambda path: path.stem)
def test_instances_round_trip(path: Path) -> None:
    problem = read_problem(path.read_bytes())
    assert read_problem(json.dumps(problem_values(problem))) == problem
