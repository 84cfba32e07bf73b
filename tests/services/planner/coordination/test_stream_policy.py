"""The policy of one stream: in force, requested, refused."""

import json

from services.planner.coordination.effects import DeleteDocument, Persist, Publish
from services.planner.coordination.planner_store import Document, Kind
from services.planner.coordination.stream_policy import PolicyVerdict, StreamPolicy
from services.planner.problems.policies import PolicyRefusal, PolicyRequest, request_document
from shared.bus import topics
from shared.messages.events import EventKind
from shared.policy import Policy
from tests.support.planner_bench import events

FIRST = PolicyRequest("first", Policy(retry_limit=1))
SECOND = PolicyRequest("second", Policy(retry_limit=2))


def accepted(request: PolicyRequest) -> StreamPolicy:
    policy = StreamPolicy("camera", "planner")
    assert policy.requested(request)
    policy.accepted(request, (), 10.0)
    return policy


def test_the_newest_request_waits_and_acceptance_writes_it() -> None:
    policy = StreamPolicy("camera", "planner")
    assert policy.requested(FIRST)
    assert policy.requested(SECOND)
    assert policy.request is SECOND
    effects = policy.accepted(SECOND, ("no power figures",), 10.0)
    assert effects[0] == Persist(Document(Kind.POLICY, "camera", request_document(SECOND)))
    assert [event.kind for event in events(effects)] == [EventKind.POLICY_ACCEPTED]
    assert policy.request is None
    assert policy.verdict == PolicyVerdict("second", accepted=True, reasons=("no power figures",))


def test_the_policy_in_force_is_not_judged_again_unless_its_revision_is_new() -> None:
    policy = accepted(FIRST)
    assert not policy.requested(FIRST)
    assert policy.request is None
    assert policy.requested(PolicyRequest("third", FIRST.policy))


def test_a_refusal_publishes_the_policy_in_force_again() -> None:
    policy = accepted(FIRST)
    policy.requested(SECOND)
    effects = policy.refused(PolicyRefusal("second", ("too strict",)), 11.0)
    assert effects[0] == Publish(topics.policy("camera"), request_document(FIRST), retain=True)
    (event,) = events(effects)
    assert (event.kind, event.data) == (EventKind.POLICY_REFUSED, {"revision": "second", "reasons": ["too strict"]})
    assert policy.request is None
    assert policy.verdict == PolicyVerdict("second", accepted=False, reasons=("too strict",))
    assert json.loads(policy.document)["revision"] == "first"


def test_a_reset_leads_back_to_the_default() -> None:
    policy = accepted(FIRST)
    policy.requested(SECOND)
    assert policy.reset() == [DeleteDocument(Kind.POLICY, "camera")]
    assert (policy.document, policy.request, policy.verdict) == (b"", None, PolicyVerdict())


def test_a_restored_policy_is_in_force() -> None:
    policy = StreamPolicy("camera", "planner")
    policy.restored("first", request_document(FIRST))
    assert not policy.requested(FIRST)
    assert policy.verdict == PolicyVerdict("first")
