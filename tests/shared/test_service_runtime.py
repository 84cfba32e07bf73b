"""A service's process: it logs expected errors, ends at a signal, and returns the right status."""

import asyncio
import logging
import os
import signal
from collections.abc import Iterator

import pytest

from shared.bus.errors import BrokerUnreachable, SettingsError
from shared.exit_status import ExitStatus, InputError, ServiceFailed
from shared.service_runtime import configure_logging, new_boot_id, run_service, segue_version


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.mark.parametrize(
    ("errors", "status"),
    [
        ([], ExitStatus.DONE),
        ([InputError("no such file")], ExitStatus.INPUT_WRONG),
        ([SettingsError("no such port")], ExitStatus.INPUT_WRONG),
        ([BrokerUnreachable("mqtt://h:1", "timed out")], ExitStatus.OUT_OF_REACH),
        ([ServiceFailed("it hangs")], ExitStatus.FAILED),
        ([ExceptionGroup("", [InputError("one"), ExceptionGroup("", [InputError("two")])])], ExitStatus.INPUT_WRONG),
    ],
)
def test_expected_errors_are_one_line_each_and_a_status(
    errors: list[Exception], status: ExitStatus, capsys: pytest.CaptureFixture[str]
) -> None:
    async def service() -> None:
        for error in errors:
            raise error

    assert run_service(service) is status
    lines = capsys.readouterr().err.splitlines()
    assert "Traceback" not in "".join(lines)
    assert len(lines) == sum(2 if isinstance(error, ExceptionGroup) else 1 for error in errors)


def test_what_comes_from_outside_forges_no_line_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    name = "\x1b[2Jx\n2026-01-01 ERROR all is lost\udc80"
    logging.getLogger("test").warning("a policy of %s", name)
    try:
        raise ValueError(name)
    except ValueError:
        logging.getLogger("test").exception("it failed")
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert not [line for line in shown.splitlines() if line.startswith("2026-01-01")]
    assert "a policy of  [2Jx 2026-01-01 ERROR all is lost" in shown


def test_unexpected_errors_propagate() -> None:
    async def service() -> None:
        raise LookupError("a mistake")

    with pytest.raises(LookupError, match="a mistake"):
        run_service(service)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_service_after_its_clean_up(number: signal.Signals) -> None:
    cleaned_up = False

    async def service() -> None:
        nonlocal cleaned_up
        os.kill(os.getpid(), number)
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up = True

    assert run_service(service) is ExitStatus.DONE
    assert cleaned_up


def test_every_start_has_a_boot_id_of_its_own() -> None:
    first, second = new_boot_id(), new_boot_id()
    assert first != second
    assert len(first) == len(second) == 12


def test_the_version_is_that_of_the_distribution() -> None:
    assert segue_version()[0].isdigit()
