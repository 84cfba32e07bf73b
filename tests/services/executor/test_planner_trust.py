"""Which messages of planners a device follows: the rules, without files and brokers."""

import pytest

from services.executor.planner_trust import PlannerTrust, UntrustedPlanner
from shared.signatures import SIGNATURE_PROPERTY, SignatureError, SigningKey

OURS, THEIRS = SigningKey(bytes(range(32))), SigningKey(bytes(range(1, 33)))
PLAN = "streams/door/plan"


def signed(key: SigningKey, number: int, topic: str = PLAN, payload: bytes = b"plan") -> dict[str, str]:
    return {SIGNATURE_PROPERTY: key.sign(f"root/{topic}", payload, number)}


def trusting(*given: str) -> PlannerTrust:
    return PlannerTrust("pi", "root", given)


def test_messages_without_signature_are_followed_until_a_key_is_seen() -> None:
    trust = trusting()
    trust.check({}, PLAN, b"plan")
    assert (trust.keys, trust.is_changed) == ((), False)
    trust.check(signed(OURS, 5), PLAN, b"plan")
    assert (trust.keys, trust.is_changed) == ((OURS.public,), True)
    with pytest.raises(UntrustedPlanner, match="no signature"):
        trust.check({}, PLAN, b"plan")


def test_the_first_key_stays_and_the_refusal_of_another_says_how_to_follow_it() -> None:
    trust = trusting()
    trust.check(signed(OURS, 5), PLAN, b"plan")
    with pytest.raises(UntrustedPlanner, match=f"segue device trust pi {THEIRS.public}"):
        trust.check(signed(THEIRS, 9), PLAN, b"plan")
    assert trust.keys == (OURS.public,)


def test_a_given_key_is_followed_from_the_start_and_no_other_is_kept() -> None:
    trust = trusting(OURS.public)
    for user in ({}, signed(THEIRS, 9)):
        with pytest.raises(UntrustedPlanner):
            trust.check(user, PLAN, b"plan")
    with pytest.raises(UntrustedPlanner, match=f"--planner-key {THEIRS.public}"):
        trust.check(signed(THEIRS, 9), PLAN, b"plan")
    trust.check(signed(OURS, 5), PLAN, b"plan")
    assert trust.kept == ()


def test_several_given_keys_are_followed_each_with_its_own_numbers() -> None:
    trust = trusting(OURS.public, THEIRS.public)
    trust.check(signed(OURS, 50), PLAN, b"plan")
    trust.check(signed(THEIRS, 9), PLAN, b"plan")
    with pytest.raises(UntrustedPlanner, match="older"):
        trust.check(signed(OURS, 49), PLAN, b"plan")


def test_a_replay_is_refused_on_its_topic_and_a_repetition_is_not() -> None:
    trust = trusting()
    for number in (5, 6, 6):
        trust.check(signed(OURS, number), PLAN, b"plan")
    with pytest.raises(UntrustedPlanner, match="older"):
        trust.check(signed(OURS, 5), PLAN, b"plan")
    other = "streams/yard/plan"
    trust.check(signed(OURS, 5, other), other, b"plan")


def test_a_message_for_another_topic_or_fleet_is_refused() -> None:
    trust = trusting()
    for topic, payload in (("streams/yard/plan", b"plan"), (PLAN, b"")):
        with pytest.raises(SignatureError):
            trust.check(signed(OURS, 5), topic, payload)
    elsewhere = {SIGNATURE_PROPERTY: OURS.sign(f"other/{PLAN}", b"plan", 5)}
    with pytest.raises(SignatureError):
        trust.check(elsewhere, PLAN, b"plan")
    assert trust.keys == ()


def test_other_keys_begin_with_other_numbers() -> None:
    trust = trusting()
    trust.check(signed(OURS, 500), PLAN, b"plan")
    trust.keep((OURS.public,))
    trust.check(signed(OURS, 5), PLAN, b"plan")
    trust.keep(())
    trust.check({}, PLAN, b"plan")


def test_numbers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.executor.planner_trust._MAX_TOPICS", 3)
    trust = trusting()
    for number in range(1, 6):
        topic = f"streams/s{number}/plan"
        trust.check(signed(OURS, number, topic), topic, b"plan")
    assert list(trust.numbers) == ["streams/s3/plan", "streams/s4/plan", "streams/s5/plan"]
