"""Memory and computing time that streams take from each other on shared devices."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from services.planner.problems.snapshot import FleetSnapshot
from shared.messages.models import Manifest
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage
from shared.segment_memory import segment_memory_bytes

# Largest busy share of other streams: a stream is assumed to get at least 1 - this, since estimates may be too high.
LARGEST_SHARE = 0.8


def held_bytes(plans: Iterable[tuple[Manifest, Sequence[PlanRoute]]]) -> dict[str, float]:
    """Return the memory that the segments of plans hold, by device; a segment that routes share counts once."""
    segments = {
        (device, manifest.model, stage.start, stage.stop, stage.rows[tile] if stage.tiles else None): manifest
        for manifest, routes in plans
        for route in routes
        for stage in route.stages
        for tile, device in enumerate(stage.devices)
    }
    held: defaultdict[str, float] = defaultdict(float)
    for (device, _, start, stop, _), manifest in segments.items():
        # A tile has less: its parameters are those of its segment, its activations some rows of them.
        held[device] += segment_bytes(manifest, start, stop)
    return dict(held)


def segment_bytes(manifest: Manifest, start: int, stop: int) -> float:
    """Return the memory of blocks ``[start, stop)``: their parameters plus the largest activation."""
    blocks = manifest.blocks[start:stop]
    return segment_memory_bytes([block.parameter_bytes for block in blocks], [block.working_bytes for block in blocks])


def busy_shares(plans: Iterable[CommittedPlan], snapshot: FleetSnapshot, now_s: float) -> dict[str, float]:
    """Return the share of its time that each device computes for plans, by device.

    A stream of unknown rate, or with an offline source, takes no time.

    Args:
        plans: committed plans of streams outside the problem.
        snapshot: source of rates, profiles and loads.
        now_s: planner's clock.
    """
    shares: defaultdict[str, float] = defaultdict(float)
    for plan in plans:
        # A source that is offline sends nothing, whatever rate it reported last.
        rate_hz = present_rate_hz(plan.stream, snapshot) if snapshot.device(plan.source).online else 0.0
        weights = sum(route.weight for route in plan.routes)
        manifest = snapshot.manifest_under(plan)
        for route in plan.routes:
            for stage, name, share in computed_shares(route):
                device = snapshot.device(name)
                profile = None if manifest is None else device.profile(manifest)
                if profile is None:
                    continue
                compute_ms = share * sum(profile.block_ms[stage.start : stage.stop]) + profile.segment_overhead_ms
                busy_ms = device.present_load_factor(now_s) * compute_ms
                shares[name] += rate_hz * route.weight / weights * busy_ms / 1000
    return dict(shares)


def computed_shares(route: PlanRoute) -> Iterator[tuple[PlanStage, str, float]]:
    """Yield every stage with each of its devices, and the share of its output that the device makes."""
    for stage in route.stages:
        height = max((bottom for _, bottom in stage.rows), default=1)
        for device, (top, bottom) in zip(stage.devices, stage.rows or ((0, 1),), strict=True):
            yield stage, device, (bottom - top) / height


def slowdown(share: float) -> float:
    """Return the factor by which computing slows down on a device that others use: 1 / (1 - share).

    This is the mean slowdown of M/G/1 processor sharing at utilisation ``share`` (Kleinrock, Queueing Systems,
    volume 2, 1976, chapter 4).
    """
    return 1 / (1 - min(share, LARGEST_SHARE))


def present_rate_hz(stream: str, snapshot: FleetSnapshot) -> float:
    """Return the requests per second that the stream's source reports, else the declared rate, else 0."""
    usage, declaration = snapshot.usage.get(stream), snapshot.streams.get(stream)
    reported = None if usage is None else usage.rate_hz
    declared = None if declaration is None else declaration.rate_hz
    return reported or declared or 0.0
