"""Whether streams may be planned with tiles, and the times of tiles in their problems."""

from dataclasses import replace

import pytest

from planning.problem.problem import RowProfile
from services.planner.decisions.causes import find_cause
from services.planner.decisions.committed_routes import joint_cost
from services.planner.problems.profile_requests import ProfileKey, missing_profiles
from services.planner.problems.snapshot import Change, FleetSnapshot, PolicySet
from services.planner.problems.tiled_planning import (
    TILE_OVERHEAD_MS,
    row_profile,
    row_tables,
    tile_notes,
    tileable_stages,
    tiles_fault,
    unmeasured_tiles,
)
from shared.messages.devices import REFUSED_MS, BlockRefusal, BlockRowTimes, Profile, State
from shared.messages.events import RerouteCause
from shared.messages.models import Manifest, ManifestRows
from shared.messages.streams import StreamUsage
from shared.policy import DeviceRule, Policy
from tests.support.planner_fleet import MODEL, manifest_of
from tests.support.planner_world import (
    PI_MS,
    SERVER_MS,
    after,
    candidate_of,
    declaration,
    link,
    presence,
    problem_of,
    profile,
    world,
)


def in_rows(manifest: Manifest) -> Manifest:
    """Return a manifest whose blocks 1 and 2 can be tiled."""
    rows = {1: ManifestRows(output_rows=56, kernel=7, stride=4, padding=3), 2: ManifestRows(output_rows=56)}
    blocks = tuple(
        block.model_copy(update={"rows": rows.get(index), "tileable": index in rows, "image_crosses": index < 3})
        for index, block in enumerate(manifest.blocks)
    )
    return manifest.model_copy(update={"blocks": blocks})


def measured(device: str, block_ms: tuple[float, ...], **tables: tuple[tuple[int, float], ...]) -> Profile:
    row_times = tuple(BlockRowTimes(block=int(name[1:]), points=points) for name, points in tables.items())
    return profile(device, block_ms).model_copy(update={"row_times": row_times})


def unmeasured_world(*changes: Change) -> FleetSnapshot:
    return world(in_rows(manifest_of()), presence("pi", tiles=True), presence("server", tiles=True), *changes)


def tiled_world(*changes: Change) -> FleetSnapshot:
    return unmeasured_world(measured("pi", PI_MS), measured("server", SERVER_MS), *changes)


def test_rows_are_in_the_problem_where_all_devices_run_tiles() -> None:
    assert tiles_fault(tiled_world(), "camera") is None
    model = problem_of(tiled_world()).models[MODEL]
    assert [block.rows for block in model.blocks] == [None, RowProfile(56, 7, 4, 3), RowProfile(56), None, None]


def test_stages_of_tiles_end_where_one_image_crosses() -> None:
    manifest = in_rows(manifest_of())
    assert [block.ends_tiles for block in problem_of(tiled_world()).models[MODEL].blocks] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert list(tileable_stages(manifest)) == [(1, 3)]
    assert list(tileable_stages(crossed(manifest, 1, 2))) == [(2, 3)]
    assert list(tileable_stages(crossed(manifest, 0, 1))) == [(1, 2)]
    assert list(tileable_stages(crossed(manifest, 0))) == []
    assert tiles_fault(tiled_world(crossed(manifest)), "camera") is not None


def crossed(manifest: Manifest, *images: int) -> Manifest:
    """Return a manifest in which an image crosses behind some blocks only."""
    blocks = (
        block.model_copy(update={"image_crosses": index in images}) for index, block in enumerate(manifest.blocks)
    )
    return manifest.model_copy(update={"blocks": tuple(blocks)})


def test_the_last_block_is_never_in_tiles() -> None:
    rows = ManifestRows(output_rows=56)
    blocks = (block.model_copy(update={"rows": rows, "image_crosses": True}) for block in manifest_of().blocks)
    manifest = manifest_of().model_copy(update={"blocks": tuple(blocks)})
    assert list(tileable_stages(manifest)) == [(1, 4)]
    assert problem_of(tiled_world(manifest)).models[MODEL].blocks[-1].rows is None


def test_problems_have_no_rows_while_executors_do_not_run_tiles() -> None:
    problem = problem_of(world(in_rows(manifest_of()), measured("pi", PI_MS, b1=((1, 2.0),))))
    assert all(block.rows is None for block in problem.models[MODEL].blocks)
    assert all(not device.row_ms for device in problem.devices.values())


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ((manifest_of(),), "no stage of net can be tiled, or an earlier version has added it"),
        ((PolicySet("camera", Policy(max_devices=1)),), "the policy allows one device"),
        ((PolicySet("camera", Policy(devices=DeviceRule(deny=("server",)))),), "fewer than two devices can run net"),
        ((presence("server", State.OFFLINE),), "fewer than two devices can run net"),
        ((presence("server"),), "server cannot run tiles"),
        # The sink gathers the rows of the result.
        ((presence("screen"), declaration(sink="screen")), "screen cannot run tiles"),
        ((declaration(model="unknown"),), "its model is not in the library"),
    ],
)
def test_why_a_stream_is_planned_without_tiles(changes: tuple[Change, ...], fault: str) -> None:
    snapshot = tiled_world(*changes)
    assert tiles_fault(snapshot, "camera") == fault
    assert tile_notes(snapshot, "camera") == (f"Tiles are not planned: {fault}.",)
    assert unmeasured_tiles(snapshot, "camera") == ()


def test_an_executor_of_an_earlier_release_takes_part_in_routes_without_tiles_only() -> None:
    snapshot = tiled_world(presence("other"), profile("other", SERVER_MS))
    assert tiles_fault(snapshot, "camera") is None
    devices = problem_of(snapshot).devices
    assert {name: device.untiled_models for name, device in devices.items()} == {
        "pi": (),
        "server": (),
        "other": (MODEL,),
    }
    assert tile_notes(snapshot, "camera")[0] == "other cannot run tiles, and takes part in routes without tiles only."
    assert unmeasured_tiles(snapshot, "camera") == ()


def test_a_device_that_joins_does_not_end_tiles_until_it_has_measured_some() -> None:
    other = presence("other", tiles=True)
    snapshot = tiled_world(other, profile("other", SERVER_MS))
    assert tiles_fault(snapshot, "camera") is None
    assert unmeasured_tiles(snapshot, "camera") == ("other",)
    assert problem_of(snapshot).devices["other"].untiled_models == (MODEL,)
    notes = tile_notes(snapshot, "camera")
    assert notes[0] == "other has not measured tiles yet, and takes part in routes without tiles."
    assert len(notes) == 3
    snapshot = tiled_world(other, measured("other", SERVER_MS))
    assert problem_of(snapshot).devices["other"].untiled_models == ()


def test_a_device_that_takes_no_part_does_not_have_to_run_tiles() -> None:
    assert tiles_fault(tiled_world(presence("other")), "camera") is None


def test_measured_times_by_rows_are_in_the_problem() -> None:
    snapshot = tiled_world(measured("pi", PI_MS, b1=((1, 2.0), (28, 21.0)), b2=((14, 11.0),)))
    devices = problem_of(snapshot).devices
    assert devices["pi"].row_ms == {MODEL: (None, ((1, 2.0), (28, 21.0)), ((14, 11.0),), None, None)}
    assert devices["server"].row_ms == {MODEL: (None,) * 5}


def test_points_that_do_not_suit_the_model_are_left_out() -> None:
    manifest = in_rows(manifest_of())
    hostile = measured(
        "pi", PI_MS, b1=((28, 21.0), (56, 1.0), (900, 1.0)), b2=((60, 0.0),), b4=((1, 1.0),), b9=((1, 1.0),)
    )
    assert row_tables(hostile, manifest) == (None, ((28, 21.0),), None, None, None)


def test_a_tile_of_a_refused_block_takes_as_long_as_the_block() -> None:
    block_ms = (5.0, REFUSED_MS, 40.0, 40.0, 40.0)
    refusal = BlockRefusal(start=1, stop=2, reason="it is too large")
    refused = measured("pi", block_ms, b1=((28, 1.0),)).model_copy(update={"refusals": (refusal,)})
    assert row_tables(refused, in_rows(manifest_of()))[1] == ((1, REFUSED_MS),)


def test_it_is_said_what_is_measured_and_what_is_estimated() -> None:
    notes = tile_notes(tiled_world(measured("pi", PI_MS, b1=((1, 2.0),), b2=((1, 2.0),))), "camera")
    assert notes[0] == "Times by rows on pi are measured for 2 of 2 blocks."
    notes = tile_notes(tiled_world(measured("pi", PI_MS, b2=((1, 2.0),))), "camera")
    assert notes[0] == (
        "Times by rows on pi are measured for 1 of 2 blocks. Tiles of block 1 have an estimate in proportion to their "
        "rows, plus the overhead of a segment."
    )


def test_no_plan_has_tiles_before_they_are_measured() -> None:
    snapshot = unmeasured_world(measured("pi", PI_MS))
    assert tile_notes(snapshot, "camera") == ("Tiles are not planned: tiles on server are not measured yet.",)
    assert problem_of(snapshot).models[MODEL].blocks[1].rows is None
    assert unmeasured_tiles(snapshot, "camera") == ("server",)


def test_devices_are_asked_for_tiles_that_a_stream_may_use() -> None:
    manifest = in_rows(manifest_of())
    wanted = {ProfileKey(device, MODEL, manifest.graph_version(), in_tiles=True) for device in ("pi", "server")}
    assert missing_profiles(unmeasured_world()).keys() == wanted
    assert missing_profiles(tiled_world()) == {}
    assert missing_profiles(unmeasured_world(PolicySet("camera", Policy(max_devices=1)))) == {}


@pytest.mark.parametrize(
    ("mbps", "half_ms", "wins"),
    [(1000.0, 21.0, True), (0.1, 21.0, False), (1000.0, 40.0 - TILE_OVERHEAD_MS / 2, False)],
)
def test_stages_are_split_only_where_that_is_faster(mbps: float, half_ms: float, wins: bool) -> None:
    """Two equal devices, half of whose time is in blocks that can be tiled; a tile may gain less than it adds."""
    tables = {"b1": ((28, half_ms),), "b2": ((28, half_ms),)}
    changes = (measured("server", PI_MS, **tables), measured("pi", PI_MS, **tables))
    links = (link("pi", "server", mbps), link("server", "pi", mbps))
    snapshot = unmeasured_world(*changes, *links)
    whole = candidate_of(problem_of(unmeasured_world(*links, profile("server", PI_MS))))
    found = candidate_of(problem_of(snapshot))
    assert any(stage.tiles for stage in found.routes[0].stages) is wins
    assert (joint_cost(problem_of(snapshot), {"camera": found.routes}) < 165.0) is wins
    assert not any(stage.tiles for stage in whole.routes[0].stages)


def test_the_reason_of_a_reroute_to_tiles_is_that_they_are_possible() -> None:
    tables = {"b1": ((28, 21.0),), "b2": ((28, 21.0),)}
    links = (link("pi", "server", 1000.0), link("server", "pi", 1000.0))
    before = unmeasured_world(profile("server", PI_MS), *links)
    both = measured("server", PI_MS, **tables), measured("pi", PI_MS, **tables)
    later = after(before, *both, StreamUsage(stream="camera", input_bytes=95_500))
    old, new = problem_of(before), problem_of(later)
    whole, split = ({"camera": candidate_of(problem).routes} for problem in (old, new))
    cause = find_cause(old, new, whole, split, later)
    assert (cause.cause, cause.text) == (RerouteCause.PROFILE_CHANGED, "stages may be split into tiles now")
    back = find_cause(new, old, split, whole, before)
    assert back.text == "stages may not be split as before"


def test_the_reason_names_the_change_that_makes_tiles_faster_before_their_possibility() -> None:
    tables = {"b1": ((28, 21.0),), "b2": ((28, 21.0),)}
    fast, slow = ((link("pi", "server", mbps), link("server", "pi", mbps)) for mbps in (1000.0, 0.1))
    before = unmeasured_world(profile("server", PI_MS), *slow)
    later = after(before, measured("server", PI_MS, **tables), measured("pi", PI_MS, **tables), *fast)
    whole, split = ({"camera": candidate_of(problem_of(world)).routes} for world in (before, later))
    cause = find_cause(problem_of(before), problem_of(later), whole, split, later)
    assert cause.cause is RerouteCause.LINK_CHANGED
    assert cause.text.startswith("link ")
    assert cause.text.endswith(" rose from 0.1 to 1000.0 Mbps; stages may be split into tiles now")


def test_rows_of_a_block() -> None:
    assert row_profile(in_rows(manifest_of()).blocks[0]) is None
    doubled = replace(RowProfile(16, 3, 1, 1), upsampling=2)
    rows = ManifestRows(output_rows=16, kernel=3, stride=1, padding=1, upsampling=2)
    assert row_profile(manifest_of().blocks[1].model_copy(update={"rows": rows})) == doubled
