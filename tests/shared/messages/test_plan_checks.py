"""Plans beside their model, their stream and a clock."""

import pytest

from shared.messages.models import Manifest, ManifestBlock
from shared.messages.plan_checks import MAX_FOREIGN_EPOCH, plan_misfit
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage

MODEL, OTHER = "a" * 64, "b" * 64
NOW_S = 1_800_000_000.0
MANIFEST = Manifest(
    model=MODEL,
    name="net",
    size_bytes=1,
    inputs=(),
    outputs=(),
    blocks=tuple(ManifestBlock(name=f"b{number}", output_bytes=1) for number in range(4)),
)


def plan(stop: int = 4, epoch: int = 1, committed_at_s: float = NOW_S) -> CommittedPlan:
    route = PlanRoute(stages=(PlanStage(start=0, stop=stop, device="pi"),))
    return CommittedPlan(
        stream="s",
        epoch=epoch,
        model=MODEL,
        source="pi",
        strategy="auto",
        routes=(route,),
        committed_at_s=committed_at_s,
    )


@pytest.mark.parametrize("declared", ["", MODEL, "net"])
def test_a_plan_of_its_stream_fits(declared: str) -> None:
    assert plan_misfit(plan(), (MANIFEST,), declared, NOW_S) is None


@pytest.mark.parametrize("declared", ["", MODEL, "an alias that may be its own"])
def test_a_plan_whose_model_is_not_known_yet_may_fit(declared: str) -> None:
    assert plan_misfit(plan(), (), declared, NOW_S) is None


@pytest.mark.parametrize(
    ("misfit", "manifests", "declared", "reason"),
    [
        (plan(stop=9), (MANIFEST,), "net", "end after block 9, and model net has 4 blocks"),
        (plan(stop=2), (MANIFEST,), "net", "end after block 2"),
        (plan(), (MANIFEST,), OTHER, "is declared with bbbb"),
        (plan(), (), OTHER, "is declared with bbbb"),
        (plan(), (MANIFEST,), "other", "is declared with other"),
        (plan().model_copy(update={"model": OTHER}), (MANIFEST,), "net", "it is of model bbbb"),
        (plan(epoch=MAX_FOREIGN_EPOCH + 1), (MANIFEST,), "net", "leaves no room"),
        (plan(committed_at_s=NOW_S + 4_000 * 86_400), (MANIFEST,), "net", "4000 days in the future"),
    ],
)
def test_a_plan_that_contradicts_what_is_known(
    misfit: CommittedPlan, manifests: tuple[Manifest, ...], declared: str, reason: str
) -> None:
    assert reason in (plan_misfit(misfit, manifests, declared, NOW_S) or "")


def test_a_clock_that_was_never_set_refuses_no_plan() -> None:
    assert plan_misfit(plan(), (MANIFEST,), "net", 100.0) is None


@pytest.mark.parametrize("behind_s", [3_600.0, 400 * 86_400.0, NOW_S - 100.0])
def test_a_reader_whose_clock_is_behind_takes_the_plan(behind_s: float) -> None:
    assert plan_misfit(plan(), (MANIFEST,), "net", NOW_S - behind_s) is None
