"""Error lines and exit statuses."""

import pytest

from services.cli.support.errors import InfeasibleProblem, exit_status, report
from shared.bus.errors import BrokerUnreachable, SettingsError
from shared.exit_status import ExitStatus, InputError
from shared.model.errors import ModelFileError


def test_a_package_that_is_not_installed_is_one_line_that_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ModuleNotFoundError("No module named 'scipy'", name="scipy.optimize")) is ExitStatus.FAILED
    printed = capsys.readouterr().err
    assert "package scipy is not installed" in printed
    assert "pip install 'segue[all]'" in printed


def test_too_little_memory_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(MemoryError()) is ExitStatus.FAILED
    assert capsys.readouterr().err == "error: this computer has not enough memory\n"
    report(MemoryError("Unable to allocate 9 GiB"))
    assert capsys.readouterr().err == "error: this computer has not enough memory: Unable to allocate 9 GiB\n"


def test_a_module_of_our_own_that_is_missing_is_a_fault() -> None:
    with pytest.raises(ModuleNotFoundError):
        report(ModuleNotFoundError("No module named 'services.planer'", name="services.planer"))


def test_the_only_error_of_a_group_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ExceptionGroup("tasks", [InputError("no such file\nnor folder")])) is ExitStatus.INPUT_WRONG
    assert capsys.readouterr().err == "error: no such file\nerror: nor folder\n"


def test_what_cannot_be_met_has_a_status_of_its_own() -> None:
    assert report(InfeasibleProblem("the deadline")) is ExitStatus.INFEASIBLE


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("x"), ExitStatus.INPUT_WRONG),
        (ModelFileError("x"), ExitStatus.INPUT_WRONG),
        (SettingsError("x"), ExitStatus.INPUT_WRONG),
        (InfeasibleProblem("x"), ExitStatus.INFEASIBLE),
        (BrokerUnreachable("mqtt://h", "refused"), ExitStatus.OUT_OF_REACH),
        (ZeroDivisionError(), None),
    ],
)
def test_errors_have_their_exit_status(error: Exception, status: ExitStatus | None) -> None:
    assert exit_status(error) is status


def test_a_fault_of_segue_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        report(ZeroDivisionError())


def test_every_line_of_an_error_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ExceptionGroup("wrapped", [InputError("one\n[two]")])) is ExitStatus.INPUT_WRONG
    assert capsys.readouterr().err == "error: one\nerror: [two]\n"
