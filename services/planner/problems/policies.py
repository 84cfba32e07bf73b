"""Policy messages: reading, and refusal with every reason."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import msgpack
from pydantic import ValidationError

from planning.cost.objective import missing_power_warning
from planning.problem.crossings import INTEGER_BASES
from planning.problem.route_reading import RouteTextError, read_route
from planning.strategies.pinned import PINNED
from services.planner.problems.snapshot import FleetSnapshot
from shared.policy import CodecMode, Policy, policy_document, read_policy
from shared.suggestions import closest_name

# Extra key of the document. The stream's status repeats it, so that a sender can tell which policy was judged.
REVISION_KEY = "revision"
_MAX_REVISION_CHARACTERS = 128
_MAX_POLICY_BYTES = 64 * 1024
# So many faults of a policy are reported to its sender.
_MAX_FAULTS = 20


@dataclass(frozen=True, slots=True)
class PolicyRequest:
    """A policy that is valid by itself; planning decides whether it can be met."""

    revision: str
    policy: Policy


@dataclass(frozen=True, slots=True)
class PolicyRefusal:
    """A policy that is not valid or cannot be met, with every reason as text."""

    revision: str
    reasons: tuple[str, ...]


def read_request(
    payload: bytes | memoryview, stream: str, snapshot: FleetSnapshot, strategies: Collection[str]
) -> PolicyRequest | PolicyRefusal:
    """Read a policy from JSON or msgpack and check what can be checked without planning.

    Args:
        payload: the document; its key `revision` is no part of the policy.
        stream: name of the stream.
        snapshot: source of the known devices and of the stream's declaration.
        strategies: names that a policy may ask for.
    """
    request = parse_policy_request(payload)
    if isinstance(request, PolicyRefusal):
        return request
    reasons = tuple(_contradictions(request.policy, stream, snapshot, strategies))
    return PolicyRefusal(request.revision, reasons) if reasons else request


def parse_policy_request(payload: bytes | memoryview) -> PolicyRequest | PolicyRefusal:
    """Read a policy from JSON or msgpack, without regard to any fleet."""
    try:
        document = _document(bytes(payload))
    except ValueError as error:
        return PolicyRefusal("", (str(error),))
    revision = str(document.pop(REVISION_KEY, ""))[:_MAX_REVISION_CHARACTERS]
    try:
        # Through JSON, so that both formats are validated by the same rules.
        return PolicyRequest(revision, read_policy(json.dumps(document)))
    except ValidationError as error:
        return PolicyRefusal(revision, tuple(_faults(error)))
    except (TypeError, ValueError) as error:
        return PolicyRefusal(revision, (f"the policy has a value that JSON cannot express: {error}",))


def _document(payload: bytes) -> dict[str, object]:
    if len(payload) > _MAX_POLICY_BYTES:
        raise ValueError(f"{len(payload)} bytes are more than a policy may have ({_MAX_POLICY_BYTES})")
    try:
        # A JSON object starts with a brace, which no msgpack map does.
        document = json.loads(payload) if payload.lstrip()[:1] == b"{" else msgpack.unpackb(payload)
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise ValueError(f"the policy is neither JSON nor msgpack: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"a policy is a map, not {type(document).__name__}")
    return document


def _faults(error: ValidationError) -> Iterator[str]:
    faults = error.errors(include_url=False, include_input=False)
    for fault in faults[:_MAX_FAULTS]:
        place = ".".join(str(part) for part in fault["loc"])
        if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            yield f"{place}: no policy has such a field"
        else:
            yield f"{place or 'policy'}: {fault['msg']}"
    if len(faults) > _MAX_FAULTS:
        yield f"and {len(faults) - _MAX_FAULTS} more faults"


def _contradictions(policy: Policy, stream: str, snapshot: FleetSnapshot, strategies: Collection[str]) -> Iterator[str]:
    if policy.strategy not in strategies:
        near = closest_name(policy.strategy, strategies)
        yield f"strategy: there is no {policy.strategy!r}{near}; known are {', '.join(sorted(strategies))}"
    if policy.strategy == PINNED and policy.route is None:
        yield f"route: strategy {PINNED} takes the route that the policy states, and it states none"
    elif policy.route is not None:
        yield from _route_faults(policy, policy.route)
    yield from _unknown_codec(policy, stream, snapshot)
    allow = policy.devices.allow
    for device in sorted(set(allow or ()) & set(policy.devices.deny)):
        yield f"devices: {device} is allowed and denied"
    for device in sorted(set(allow or ()) - snapshot.devices.keys()):
        yield f"devices.allow: there is no device {device!r}; known are {', '.join(sorted(snapshot.devices)) or 'none'}"
    if allow is not None and not allow:
        yield "devices.allow: the empty list allows no device; name some, or leave it out to allow all"
    elif allow is None and snapshot.devices and not any(map(policy.devices.permits, snapshot.devices)):
        denied = ", ".join(sorted(snapshot.devices))
        yield f"devices.deny: every device of the fleet is denied, so none may compute; take one out of it: {denied}"
    declaration = snapshot.streams.get(stream)
    if declaration is not None and policy.raw_input_stays_on_source and not policy.devices.permits(declaration.source):
        yield f"raw_input_stays_on_source: the source {declaration.source} is not allowed to compute"


def _route_faults(policy: Policy, text: str) -> Iterator[str]:
    if policy.strategy != PINNED:
        yield f"route: only strategy {PINNED} takes it"
    try:
        read_route(text)
    except RouteTextError as error:
        yield f"route: {error}"


def reservations(policy: Policy, snapshot: FleetSnapshot) -> tuple[str, ...]:
    """Return warnings about a policy that is accepted."""
    online = {name: state.capabilities for name, state in snapshot.devices.items() if state.online}
    doubt = missing_power_warning(policy, online)
    return () if doubt is None else (doubt,)


def _unknown_codec(policy: Policy, stream: str, snapshot: FleetSnapshot) -> Iterator[str]:
    """Yield why the encoding that the policy demands is not offered for the stream's model."""
    declaration = snapshot.streams.get(stream)
    manifest = None if declaration is None else snapshot.manifest_of(declaration)
    if manifest is None or policy.codec in (CodecMode.AUTO, CodecMode.LOSSLESS):
        return
    calibration = snapshot.calibrations.get(manifest.model)
    if calibration is None:
        yield f"codec: the encodings of {manifest.name} are not measured; `segue model calibrate` does that"
        return
    known = sorted({codec.codec for block in calibration.blocks for codec in block.codecs})
    demanded = INTEGER_BASES if policy.codec == CodecMode.INT8 else {policy.codec}
    if not any({name, name.split("+", 1)[0]} & demanded for name in known):
        yield f"codec: {manifest.name} is not offered as {policy.codec!r}; there are {', '.join(known) or 'none'}"


def request_document(request: PolicyRequest) -> bytes:
    """Return the policy with its revision as JSON, the form in which it is stored and published."""
    document = policy_document(request.policy)
    if request.revision:
        document[REVISION_KEY] = request.revision
    return json.dumps(document).encode()
