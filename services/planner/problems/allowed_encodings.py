"""Encodings that strategies may choose, with the effects that calibration and shadow checks have measured."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import le

from planning.problem.crossings import INTEGER_BASES, Encoding, permits
from planning.problem.plan import RAW
from planning.problem.problem import CodecProfile
from shared.messages.calibration import Calibration, CodecCalibration, ShadowReport
from shared.policy import CodecMode, Policy

# Least top-1 agreement of an encoding for a classifier whose policy sets no bound.
DEFAULT_TOP1_AGREEMENT = 0.99
# Largest relative error of the output for a model that is no classifier and whose policy sets no bound.
DEFAULT_RELATIVE_ERROR = 0.01
# Number of reports kept per place.
REMEMBERED_REPORTS = 500
# Two-sided 95 % quantile of the normal distribution.
_Z95 = 1.959964

# A block, and the rounding of its output. Encodings that restore the same numbers share a place, because lossless
# packing after the rounding has no effect on the model's output.
Place = tuple[int, str]


@dataclass(frozen=True, slots=True)
class FieldRecord:
    """Reports of shadow checks on one place: the newest `REMEMBERED_REPORTS`, oldest first."""

    agreements: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()

    def and_then(self, report: ShadowReport) -> "FieldRecord":
        """Return the record with one more report."""
        agreed = () if report.top1_agreement is None else (report.top1_agreement,)
        return FieldRecord(
            (*self.agreements, *agreed)[-REMEMBERED_REPORTS:],
            (*self.errors, report.max_relative_error)[-REMEMBERED_REPORTS:],
        )

    @property
    def plausible_agreement(self) -> float:
        """Upper end of the 95 % score interval of the agreement (Wilson 1927); 1 without reports.

        So a single disagreement withdraws no encoding, but several disagreements in a few reports do.
        """
        count = len(self.agreements)
        if count == 0:
            return 1.0
        share = sum(self.agreements) / count
        spread = _Z95 * math.sqrt(share * (1 - share) / count + _Z95**2 / (4 * count**2))
        return min(1.0, (share + _Z95**2 / (2 * count) + spread) / (1 + _Z95**2 / count))

    @property
    def largest_error(self) -> float:
        """Largest reported relative error of the output; 0 without reports."""
        return max(self.errors, default=0.0)


def place_of(block: int, codec: str) -> Place:
    """Return the place under which reports on this encoding of this block's output are kept."""
    base = codec.split("+", 1)[0]
    return block, "uint8" if base in INTEGER_BASES else base


def offered(
    calibration: Calibration, policy: Policy, records: Mapping[Place, FieldRecord] | None = None
) -> dict[int, dict[str, CodecProfile]]:
    """Return the encodings of every block by name, each with the worse of its calibrated and its reported effect.

    For a policy that leaves the choice open and gives no bound, the bound is `DEFAULT_TOP1_AGREEMENT`, or
    `DEFAULT_RELATIVE_ERROR` for a model that is no classifier.

    Args:
        calibration: of the model.
        policy: of the stream.
        records: of shadow checks on the model.
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
    """Drop dominated encodings: no smaller, and no faster to encode or decode, than another one or than raw.

    The best plan stays the same, and the search is faster. A policy that demands an encoding is left its choice.

    Args:
        profiles: encodings of one block by name.
        raw_bytes: size of the block's output without encoding.
        policy: of the stream.
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
        # Encodings of equal cost dominate each other; without the inequality all of them would be dropped.
        if not any(other != cost and all(map(le, other, cost)) for other in better)
    }


def withdrawals(
    calibration: Calibration,
    policy: Policy,
    before: Mapping[Place, FieldRecord],
    after: Mapping[Place, FieldRecord],
) -> Iterator[tuple[int, str]]:
    """Yield the blocks and encodings that the policy allows under the old records and not under the new ones."""
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
