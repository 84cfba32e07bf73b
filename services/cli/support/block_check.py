"""Comparison of a model's blocks with its file, before the model enters a fleet."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from shared.exit_status import InputError
from shared.model.errors import RuntimeFailureError
from shared.model.partitioned_model import PartitionedModel
from shared.model.tolerance import relative_tolerance
from shared.time_limits import BASE_LIMIT_S, limit_for

_REASON: Final = "the graphs are the same, but the runtime fuses operators of the whole file that a cut separates"


@dataclass(frozen=True, slots=True)
class BlockCheck:
    """The result of a comparison.

    Attributes:
        text: the result in one sentence.
        is_warning: whether the owner of the model has to decide if the result is good enough.
        errors: the differences (`ChainReport`); empty if nothing could be compared.
    """

    text: str
    is_warning: bool
    errors: dict[str, Any]


def check_blocks(model: PartitionedModel, file: Path, *, base_limit_s: float = BASE_LIMIT_S) -> BlockCheck:
    """Run the blocks of a model one after the other, and compare their outputs with those of the whole file.

    Both get the same random inputs. Every cut is taken, so every segment that the fleet may build is covered.

    Args:
        model: as the fleet gets it.
        file: of the user.
        base_limit_s: time limit of a run, without what the model's operations explain.

    Raises:
        InputError: the blocks compute something else than the file.
        TimeLimitError: the file or a block does not end.
    """
    from shared.model.onnx_file.verification import BlockChain, Verifier

    blocks = BlockChain(model)
    try:
        verifier = Verifier(
            file,
            model.analysis.input,
            fixed_inputs=model.fixed_inputs,
            outputs=model.graph.outputs,
            limit_s=limit_for(model.analysis.flops, base_limit_s),
        )
        report = verifier.verify(blocks)
        repeats = report.unoptimised_rel_error == 0 or verifier.repeats()
    except RuntimeFailureError as error:
        return BlockCheck(f"the blocks are not compared with the file: {error}", True, {})
    tolerance = relative_tolerance(model.computed_types)
    errors = asdict(report) | {"tolerance": tolerance}
    if not repeats:
        text = "the blocks are not compared with the file: it draws random numbers, so each run differs"
        return BlockCheck(text, True, errors)
    difference = f"{report.max_rel_error:.2g} of the largest output"
    if not report.is_same_graph(model.computed_types):
        raise InputError(
            f"the blocks of {file} compute something else than the file: without optimisation they are off by "
            f"{report.unoptimised_rel_error:.2g} of the largest output. This is a fault of Segue: please report it"
        )
    if not verifier.is_finite:
        return BlockCheck("the file's outputs for random inputs hold NaN or infinities", True, errors)
    if not report.agrees(model.computed_types):
        text = f"cut at every block, results are off by {difference}, more than {tolerance:.2g}: {_REASON}"
        return BlockCheck(text, True, errors)
    exact = "bit for bit" if report.bit_exact else f"within {difference} (tolerance {tolerance:.2g})"
    return BlockCheck(f"the {len(blocks)} blocks compute what the file computes, {exact}", False, errors)
