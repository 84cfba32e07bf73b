"""Memory and computing time that streams take from each other on shared devices."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from services.planner.problems.snapshot import FleetSnapshot
from shared.messages.models import Manifest
from shared.messages.streams import CommittedPlan, PlanRoute
from shared.segment_memory import segment_memory_bytes

# Largest busy share of other streams: a stream is assumed to get at least 1 - this, since estimates may be too high.
LARGEST_SHARE = 0.8


def held_bytes(plans: Iterable[tuple[Manifest, Sequence[PlanRoute]]]) -> dict[str, float]:
    """Return the memory that the segments of plans hold, by device; a segment that routes share counts once."""
    segments = {
        (stage.device, manifest.model, stage.start, stage.stop): manifest
        for manifest, routes in plans
        for route in routes
        for stage in route.stages
    }
    held: defaultdict[str, float] = defaultdict(float)
    for (device, _, start, stop), manifest in segments.items():
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
            for stage in route.stages:
                device = snapshot.device(stage.device)
                profile = None if manifest is None else device.profile(manifest)
                if profile is None:
                    continue
                compute_ms = sum(profile.block_ms[stage.start : stage.stop]) + profile.segment_overhead_ms
                busy_ms = device.present_load_factor(now_s) * compute_ms
                shares[stage.device] += rate_hz * route.weight / weights * busy_ms / 1000
    return dict(shares)


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
