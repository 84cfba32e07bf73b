"""Cause of a reroute: the change of the fleet that accounts for most of the gain."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf

from planning.problem.problem import Link, Problem, link_table
from services.planner.decisions.committed_routes import MISFITS, StreamRoutes, devices_of, joint_cost
from services.planner.problems.snapshot import FleetSnapshot, LinkState, differs
from shared.messages.events import RerouteCause


@dataclass(frozen=True, slots=True)
class Cause:
    """A change of the fleet, a stream or a policy.

    Attributes:
        cause: its kind.
        text: one line for people.
        at_s: wall clock of the message that reported it; None if no monitor reported it.
    """

    cause: RerouteCause
    text: str
    at_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Difference:
    """One change between two problems, and the later problem without it."""

    cause: Cause
    undone: Problem


def find_cause(
    before: Problem, after: Problem, present: StreamRoutes, chosen: StreamRoutes, snapshot: FleetSnapshot
) -> Cause:
    """Return the change between two problems that accounts for most of the gain of ``chosen`` over ``present``.

    A lost device of the present routes comes first. Otherwise each change is undone in turn in the later problem. The
    cause is the change without which the gain is smallest. This takes one evaluation of both routes per change, and
    does not find changes that matter only together. A change without which ``chosen`` could not run makes it possible,
    and not better: the text has it behind the change without which there would be no gain, if there is one.

    Args:
        before: the problem for which the present routes were chosen.
        after: the present problem.
        present: the routes in force, by stream of ``after``.
        chosen: the routes that replace them.
        snapshot: source of the times at which monitors reported changes.
    """
    lost = [device for own in present.values() for device in devices_of(own) if device not in after.devices]
    if lost:
        reported_at_s = snapshot.device(lost[0]).presence_changed_at_s
        return Cause(RerouteCause.DEVICE_LOST, f"device {lost[0]} is gone", reported_at_s)
    differences = [*_differences(before, after, snapshot)]
    if not differences:
        return Cause(RerouteCause.STREAM_CHANGED, "a better route was found")
    ranked = sorted((_gain(each.undone, present, chosen), number) for number, each in enumerate(differences))
    causes = [(gain, differences[number].cause) for gain, number in ranked]
    cause = causes[0][1]
    necessary = [other for gain, other in causes if -inf < gain <= 0.0]
    if causes[0][0] == -inf and necessary:
        return replace(necessary[0], text=f"{necessary[0].text}; {cause.text}")
    return cause


def _gain(problem: Problem, present: StreamRoutes, chosen: StreamRoutes) -> float:
    """Return the cost of ``present`` minus that of ``chosen``, over the problem's streams.

    It is minus infinity if ``chosen`` cannot run, and infinity if only ``present`` cannot.
    """
    names = {stream.name for stream in problem.streams} & present.keys()
    try:
        after = joint_cost(problem, {name: chosen[name] for name in names})
    except MISFITS:
        return -inf
    try:
        return joint_cost(problem, {name: present[name] for name in names}) - after
    except MISFITS:
        return inf


def _differences(before: Problem, after: Problem, snapshot: FleetSnapshot) -> Iterator[_Difference]:
    yield from _link_differences(before, after, snapshot)
    yield from _device_differences(before, after, snapshot)
    yield from _stream_differences(before, after)


def _link_differences(before: Problem, after: Problem, snapshot: FleetSnapshot) -> Iterator[_Difference]:
    old, new = link_table(before.links), link_table(after.links)
    for (source, target), link in new.items():
        known = old.get((source, target))
        # A link of a device that was not there before comes with the device.
        if known is None and (source not in before.devices or target not in before.devices):
            continue
        if known is not None and not differs(known.bandwidth_mbps, link.bandwidth_mbps):
            if not differs(known.latency_ms, link.latency_ms):
                continue
            text = f"latency of link {source}->{target} {_moved(known.latency_ms, link.latency_ms, 'ms')}"
        elif known is not None:
            text = f"link {source}->{target} {_moved(known.bandwidth_mbps, link.bandwidth_mbps, 'Mbps')}"
        else:
            text = f"link {source}->{target} appeared"
        # `link_table` has one object under both directions for a link that was given one way; `is not` drops both
        # entries.
        undone = tuple(each for pair, each in new.items() if pair != (source, target) and each is not link)
        undone = undone if known is None else (*undone, replace(known, source=source, target=target))
        yield _Difference(
            Cause(RerouteCause.LINK_CHANGED, text, _reported_at_s(link, snapshot)), replace(after, links=undone)
        )
    for (source, target), link in old.items():
        if (source, target) in new or source not in after.devices or target not in after.devices:
            continue
        # A link that works in this direction is left out because its reverse is dead; the reverse has its own entry.
        state = _link_state(link, snapshot, source, target)
        if state is None or state.bandwidth_mbps <= 0:
            at_s = None if state is None else state.changed_at_s
            cause = Cause(RerouteCause.LINK_CHANGED, f"link {source}->{target} is dead", at_s)
            undone = (*new.values(), replace(link, source=source, target=target))
            yield _Difference(cause, replace(after, links=undone))


def _reported_at_s(link: Link, snapshot: FleetSnapshot) -> float | None:
    state = _link_state(link, snapshot, link.source, link.target)
    return None if state is None else state.changed_at_s


def _link_state(link: Link, snapshot: FleetSnapshot, source: str, target: str) -> LinkState | None:
    """Return the reported state of a link, of the transport whose bandwidth the problem has."""
    device = snapshot.device(source)
    states = [states[target] for states in (device.links, device.direct_links) if target in states]
    return next(
        (state for state in states if state.bandwidth_mbps == link.bandwidth_mbps), states[0] if states else None
    )


def _device_differences(before: Problem, after: Problem, snapshot: FleetSnapshot) -> Iterator[_Difference]:
    for name, device in after.devices.items():
        known = before.devices.get(name)
        if known is None:
            without = {other: each for other, each in after.devices.items() if other != name}
            if without:
                reported_at_s = snapshot.device(name).presence_changed_at_s
                cause = Cause(RerouteCause.DEVICE_BACK, f"device {name} joined", reported_at_s)
                yield _Difference(cause, replace(after, devices=without))
            continue
        if differs(known.load_factor, device.load_factor):
            state = snapshot.device(name)
            text = f"load factor of {name} {_moved(known.load_factor, device.load_factor, '')}".rstrip()
            # The problem's factor includes the computing of other streams, which no monitor reports.
            shared = differs(state.load_factor, device.load_factor)
            at_s = None if shared else state.load_changed_at_s
            text = f"{text}, other streams included" if shared else text
            cause = Cause(RerouteCause.LOAD_CHANGED, text, at_s)
            yield _Difference(cause, _with(after, name, load_factor=known.load_factor))
        # Times by rows that come or go do so with the rows of the model.
        row_ms = known.row_ms if known.row_ms and device.row_ms else device.row_ms
        profiled = (known.block_ms, known.segment_overhead_ms, row_ms)
        if profiled != (device.block_ms, device.segment_overhead_ms, device.row_ms):
            cause = Cause(RerouteCause.PROFILE_CHANGED, f"profile of {name} changed")
            overhead_ms = known.segment_overhead_ms
            undone = _with(after, name, block_ms=known.block_ms, segment_overhead_ms=overhead_ms, row_ms=row_ms)
            yield _Difference(cause, undone)
        if known.memory_bytes != device.memory_bytes:
            cause = Cause(RerouteCause.STREAM_CHANGED, f"memory left on {name} changed")
            yield _Difference(cause, _with(after, name, memory_bytes=known.memory_bytes))


def _stream_differences(before: Problem, after: Problem) -> Iterator[_Difference]:
    old, new = before.models, after.models
    for name in old.keys() & new.keys():
        if differs(old[name].input_bytes, new[name].input_bytes):
            text = f"requests {_moved(old[name].input_bytes / 1000, new[name].input_bytes / 1000, 'kB')}"
            undone = replace(new[name], input_bytes=old[name].input_bytes)
            yield _Difference(Cause(RerouteCause.STREAM_CHANGED, text), replace(after, models={**new, name: undone}))
        rows = [block.rows for block in old[name].blocks]
        if len(rows) == len(new[name].blocks) and rows != [block.rows for block in new[name].blocks]:
            text = "stages may be split into tiles now" if not any(rows) else "stages may not be split as before"
            blocks = (replace(block, rows=own) for block, own in zip(new[name].blocks, rows, strict=True))
            undone = replace(new[name], blocks=tuple(blocks))
            yield _Difference(Cause(RerouteCause.PROFILE_CHANGED, text), replace(after, models={**new, name: undone}))
    yield from _member_differences(before, after)


def _member_differences(before: Problem, after: Problem) -> Iterator[_Difference]:
    """Yield streams that have changed, and those that have joined or left the group."""
    known, now = ({stream.name: stream for stream in problem.streams} for problem in (before, after))
    for name, stream in now.items():
        others = tuple(each for each in after.streams if each.name != name)
        if name not in known and others:
            cause = Cause(RerouteCause.STREAM_CHANGED, f"stream {name} is planned together with the others now")
            yield _Difference(cause, replace(after, streams=others))
        elif name in known and replace(known[name], model=stream.model) != stream:
            undone = tuple(
                replace(known[name], model=stream.model) if each is stream else each for each in after.streams
            )
            yield _Difference(Cause(RerouteCause.STREAM_CHANGED, "stream changed"), replace(after, streams=undone))
    for name in sorted(known.keys() - now.keys()):
        cause = Cause(RerouteCause.STREAM_CHANGED, f"stream {name} is no longer planned together with the others")
        # The stream cannot be put back into the later problem. So this cause is found only if undoing no other change
        # lowers the gain.
        yield _Difference(cause, after)


def _with(problem: Problem, name: str, **changes: object) -> Problem:
    changed = replace(problem.devices[name], **changes)  # type: ignore[arg-type]
    return replace(problem, devices={**problem.devices, name: changed})


def _moved(before: float, after: float, unit: str) -> str:
    return f"{'fell' if after < before else 'rose'} from {before:.1f} to {after:.1f} {unit}"
