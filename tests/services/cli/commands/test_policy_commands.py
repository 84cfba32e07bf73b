"""What `segue policy set` refuses before it asks a broker for anything."""

from typer.testing import CliRunner

from services.cli.support.lazy_groups import Entry, lazy_app
from shared.service_runtime import InputError


def test_bounds_given_as_options_are_checked_before_anything_is_published() -> None:
    app = lazy_app([Entry("set", "services.cli.commands.policy_commands:set_policy_command", "")])
    bounds = ["--codec", "auto", "--min-top1-agreement", "2", "--max-relative-error", "-1"]
    refused = CliRunner().invoke(app, ["set", "door", *bounds])
    assert isinstance(refused.exception, InputError)
    assert "min_top1_agreement: Input should be less than or equal to 1" in str(refused.exception)
    assert "max_relative_error" in str(refused.exception)
    assert "codec" not in str(refused.exception)
