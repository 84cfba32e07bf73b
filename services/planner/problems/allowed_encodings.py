"""Which encodings strategies may choose, and what the field says of them. Pure."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import le

from planning.problem.crossings import INTEGER_BASES, Encoding, permits
from planning.problem.plan import RAW
from planning.problem.problem import CodecProfile
from shared.messages.calibration import Calibration, CodecCalibration, ShadowReport
from shared.policy import CodecMode, Policy

DEFAULT_TOP1_AGREEMENT = 0.99
"""Least agreement of an encoding that the planner chooses for a classifier and a policy that names no bound."""
DEFAULT_RELATIVE_ERROR = 0.01
"""The same for models that are no classifiers: the largest error of the output."""
REMEMBERED_REPORTS = 500
_Z95 = 1.959964

Place = tuple[int, str]
"""A block, and what is done to the numbers of its output: encodings that restore the same numbers share it."""


@dataclass(frozen=True, slots=True)
class FieldRecord:
    """What shadow checks have reported of one place: the newest `REMEMBERED_REPORTS`, oldest first."""

    agreements: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()

    def and_then(self, report: ShadowReport) -> "FieldRecord":
        """Return the record with one report more."""
        agreed = () if report.top1_agreement is None else (report.top1_agreement,)
        return FieldRecord(
            (*self.agreements, *agreed)[-REMEMBERED_REPORTS:],
            (*self.errors, report.max_relative_error)[-REMEMBERED_REPORTS:],
        )

    @property
    def plausible_agreement(self) -> float:
        """The largest agreement that the reports leave plausible: upper end of the 95 % interval (Wilson 1927).

        So a single disagreement condemns nothing, and several out of few do.
        """
        count = len(self.agreements)
        if count == 0:
            return 1.0
        share = sum(self.agreements) / count
        spread = _Z95 * math.sqrt(share * (1 - share) / count + _Z95**2 / (4 * count**2))
        return min(1.0, (share + _Z95**2 / (2 * count) + spread) / (1 + _Z95**2 / count))

    @property
    def largest_error(self) -> float:
        """Largest relative error of the output that was reported."""
        return max(self.errors, default=0.0)


def place_of(block: int, codec: str) -> Place:
    """Return where reports on this encoding of this block's output are kept."""
    base = codec.split("+", 1)[0]
    return block, "uint8" if base in INTEGER_BASES else base


def offered(
    calibration: Calibration, policy: Policy, records: Mapping[Place, FieldRecord] | None = None
) -> dict[int, dict[str, CodecProfile]]:
    """Return the encodings of every block, with the effect that calibration and field together say they have.

    A policy that leaves the choice open and gives no bound is taken to ask for `DEFAULT_TOP1_AGREEMENT`, or for
    `DEFAULT_RELATIVE_ERROR` of a model that is no classifier.
    """
    bounded = policy.min_top1_agreement is not None or policy.max_relative_error is not None
    open_choice = policy.codec == CodecMode.AUTO and not bounded
    found: dict[int, dict[str, CodecProfile]] = {}
    for block in calibration.blocks:
        profiles = {
            each.codec: _profile(each, (records or {}).get(place_of(block.block, each.codec), FieldRecord()))
            for each in block.codecs
            if each.codec != RAW
        }
        found[block.block] = {
            name: profile for name, profile in profiles.items() if not open_choice or _is_harmless(profile)
        }
    return found


def worthwhile(profiles: Mapping[str, CodecProfile], raw_bytes: float, policy: Policy) -> dict[str, CodecProfile]:
    """Leave out what no strategy would choose: another encoding, or none, is as small and as quick, and better in one.

    Only where the policy leaves the choice; the plans that are left are no worse, and found sooner.
    """
    if policy.codec not in (CodecMode.AUTO, CodecMode.LOSSLESS):
        return dict(profiles)
    costs = {
        name: (profile.size_bytes, profile.encode_ms, profile.decode_ms)
        for name, profile in profiles.items()
        if _permits(policy, name, profile)
    }
    better = [(raw_bytes, 0.0, 0.0), *costs.values()]
    return {
        name: profiles[name]
        for name, cost in costs.items()
        if not any(other != cost and all(map(le, other, cost)) for other in better)
    }


def withdrawals(
    calibration: Calibration,
    policy: Policy,
    before: Mapping[Place, FieldRecord],
    after: Mapping[Place, FieldRecord],
) -> Iterator[tuple[int, str]]:
    """Yield the blocks and encodings that the policy allowed before and does not allow any more."""
    earlier, later = offered(calibration, policy, before), offered(calibration, policy, after)
    for block, profiles in earlier.items():
        for name, profile in profiles.items():
            now = later[block].get(name)
            if _permits(policy, name, profile) and (now is None or not _permits(policy, name, now)):
                yield block, name


def _profile(codec: CodecCalibration, record: FieldRecord) -> CodecProfile:
    agreement = codec.top1_agreement
    return CodecProfile(
        codec.size_bytes,
        codec.encode_ms,
        codec.decode_ms,
        max(codec.max_relative_error, record.largest_error),
        None if agreement is None else min(agreement, record.plausible_agreement),
    )


def _is_harmless(profile: CodecProfile) -> bool:
    if profile.top1_agreement is not None:
        return profile.top1_agreement >= DEFAULT_TOP1_AGREEMENT
    return (profile.relative_error or 0.0) <= DEFAULT_RELATIVE_ERROR


def _permits(policy: Policy, name: str, profile: CodecProfile) -> bool:
    encoding = Encoding(
        name,
        profile.size_bytes,
        profile.encode_ms,
        profile.decode_ms,
        profile.relative_error,
        profile.top1_agreement,
    )
    return permits(policy, encoding)
