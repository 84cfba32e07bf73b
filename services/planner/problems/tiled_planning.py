"""Whether stages of a stream may be split into tiles, and where the times of tiles are measured."""

from collections.abc import Iterator

from planning.problem.problem import RowProfile, RowTable
from services.planner.problems.readiness import profile_fault
from services.planner.problems.snapshot import DeviceState, FleetSnapshot
from shared.messages.devices import REFUSED_MS, Profile
from shared.messages.models import Manifest, ManifestBlock

# What a tile takes beside its blocks: rows are received, put together, queued, taken apart and sent in Python. It was
# between 5 and 8 ms per stage on executors of one idle machine with two cores (`benchmarks.tiled_fleet`).
TILE_OVERHEAD_MS = 6.0


def runs_tiles(state: DeviceState) -> bool:
    """Return whether a device computes tiles, and sends and receives rows."""
    return state.capabilities.tiles


def row_profile(block: ManifestBlock) -> RowProfile | None:
    """Return the rows of a block as a problem has them; None for one that cannot be tiled."""
    rows = block.rows
    if rows is None:
        return None
    return RowProfile(rows.output_rows, rows.kernel, rows.stride, rows.padding, upsampling=rows.upsampling)


def row_tables(profile: Profile, manifest: Manifest) -> tuple[RowTable | None, ...]:
    """Return the measured times by rows, [blocks]; None for a block whose time counts as proportional to its rows.

    The time of a block that the device cannot run is the same for any rows.
    """
    measured = {each.block: each.points for each in profile.row_times or ()}
    return tuple(
        _table(block, whole_ms, measured.get(index, ()))
        for index, (block, whole_ms) in enumerate(zip(manifest.blocks, profile.block_ms, strict=True))
    )


def _table(block: ManifestBlock, whole_ms: float, points: RowTable) -> RowTable | None:
    if block.rows is None:
        return None
    if whole_ms >= REFUSED_MS:
        return ((1, whole_ms),) if block.rows.output_rows > 1 else None
    return tuple(point for point in points if point[0] < block.rows.output_rows) or None


def tileable_stages(manifest: Manifest) -> Iterator[tuple[int, int]]:
    """Yield the longest stages of blocks that can be tiled, `[start, stop)`.

    They begin and end where one image crosses, and leave out the last block, whose device makes the outcome.
    """
    start: int | None = None
    end: int | None = None
    for index, block in enumerate(manifest.blocks):
        is_tileable = index + 1 < len(manifest.blocks) and block.rows is not None and block.rows.output_rows > 1
        if is_tileable and start is None and index and manifest.blocks[index - 1].image_crosses:
            start = index
        if is_tileable and start is not None and block.image_crosses:
            end = index + 1
        if not is_tileable:
            if start is not None and end is not None:
                yield start, end
            start = end = None


def tiles_fault(snapshot: FleetSnapshot, stream: str) -> str | None:
    """Return why no stage of a stream may be split into tiles; None if it may.

    The source and the sink have to run tiles, and at least two devices that compute, which have measured some. So the
    first plan of a model that is new to the fleet has no tiles, and the latency that is measured under it shows whether
    tiles gain what is promised (`measured_guard`). Other devices take part in routes without tiles
    (`Device.untiled_models`).

    Args:
        snapshot: of the fleet.
        stream: name of a declared stream.
    """
    if (fault := _fault(snapshot, stream)) is not None:
        return fault
    manifest = snapshot.manifest_of(snapshot.streams[stream])
    assert manifest is not None, "a stream without its model has a fault"
    unmeasured = sorted(unmeasured_tiles(snapshot, stream))
    measured = [
        name
        for name, profile in _computing(snapshot, stream, manifest).items()
        if runs_tiles(snapshot.device(name)) and profile.row_times is not None
    ]
    if len(measured) >= 2:
        return None
    return f"tiles on {', '.join(unmeasured)} are not measured yet"


def _fault(snapshot: FleetSnapshot, stream: str) -> str | None:
    """Return why a stream may have no tiles, whatever was measured of them; None if it may."""
    declaration = snapshot.streams[stream]
    manifest, policy = snapshot.manifest_of(declaration), snapshot.policy(stream)
    if manifest is None:
        return "its model is not in the library"
    if next(tileable_stages(manifest), None) is None:
        return f"no stage of {manifest.name} can be tiled, or an earlier version has added it"
    if policy.max_devices == 1:
        return "the policy allows one device"
    computing = _computing(snapshot, stream, manifest)
    if len(computing) < 2:
        return f"fewer than two devices can run {manifest.name}"
    unable = {name for name in computing if not runs_tiles(snapshot.device(name))}
    ends = {name for name in (declaration.source, declaration.sink) if name is not None}
    unable_ends = {name for name in ends if snapshot.device(name).online and not runs_tiles(snapshot.device(name))}
    if unable_ends or len(computing) - len(unable) < 2:
        return f"{', '.join(sorted(unable_ends or unable))} cannot run tiles"
    return None


def unmeasured_tiles(snapshot: FleetSnapshot, stream: str) -> tuple[str, ...]:
    """Return the devices that have measured a stream's model, but not the tiles of it that the stream may use."""
    manifest = snapshot.manifest_of(snapshot.streams[stream])
    if manifest is None or _fault(snapshot, stream) is not None:
        return ()
    return tuple(
        name
        for name, profile in _computing(snapshot, stream, manifest).items()
        if runs_tiles(snapshot.device(name)) and profile.row_times is None
    )


def tile_notes(snapshot: FleetSnapshot, stream: str) -> tuple[str, ...]:
    """Return sentences on whether a stream is planned with tiles, and on which devices their times are measured."""
    fault, manifest = tiles_fault(snapshot, stream), snapshot.manifest_of(snapshot.streams[stream])
    if fault is not None or manifest is None:
        return (f"Tiles are not planned: {fault}.",)
    profiles = _computing(snapshot, stream, manifest)
    unable = sorted(name for name in profiles if not runs_tiles(snapshot.device(name)))
    unmeasured = unmeasured_tiles(snapshot, stream)
    notes = [f"{name} cannot run tiles, and takes part in routes without tiles only." for name in unable]
    notes += [f"{name} has not measured tiles yet, and takes part in routes without tiles." for name in unmeasured]
    able = {name: profile for name, profile in profiles.items() if name not in (*unable, *unmeasured)}
    return (*notes, *_measured(able, manifest))


def _measured(profiles: dict[str, Profile], manifest: Manifest) -> Iterator[str]:
    wanted = [index for index, block in enumerate(manifest.blocks[:-1]) if block.rows and block.rows.output_rows > 1]
    for name, profile in sorted(profiles.items()):
        missing = sorted(set(wanted) - {each.block for each in profile.row_times or ()})
        text = f"Times by rows on {name} are measured for {len(wanted) - len(missing)} of {len(wanted)} blocks."
        if missing:
            which = ", ".join(map(str, missing))
            text += (
                f" Tiles of block {which} have an estimate in proportion to their rows, plus the overhead of a segment."
            )
        yield text


def _computing(snapshot: FleetSnapshot, stream: str, manifest: Manifest) -> dict[str, Profile]:
    """Return the profiles of the devices on which a stream's segments may run."""
    permits = snapshot.policy(stream).devices.permits
    return {
        name: profile
        for name, state in snapshot.devices.items()
        if state.online
        and permits(name)
        and profile_fault(state, manifest) is None
        and (profile := state.profile(manifest)) is not None
    }
