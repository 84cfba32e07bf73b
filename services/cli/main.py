"""The `segue` command."""

import errno
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from services.cli.support.interrupts import INTERRUPTED, interrupt_once
from services.cli.support.lazy_groups import Entry, lazy_app

_TRY = "Try it"
_FLEET = "A running fleet"
_OFFLINE = "Offline: models and plans"
_SERVICES = "Services, one process each"

_HELP = (
    "Run neural networks across several small computers, and move their segments while they run.\n\n"
    "Start with `segue demo`: a whole fleet on this machine. With your own model, describe a fleet in a FLEET.toml "
    "and run `segue up FLEET.toml`. On several machines, start `segue broker`, `planner` and `collector` on one of "
    "them, `executor` and `monitor` on every device; then `segue model add`, `segue stream add`, `segue submit`.\n\n"
    "Exit status: 0 done, 2 the input is wrong, 3 infeasible, 4 the fleet or its broker is out of reach."
)

MODEL_APP = lazy_app(
    (
        Entry(
            "inspect",
            "services.cli.commands.model_file_commands:inspect",
            "Show where a model can be cut, and what its blocks cost.",
        ),
        Entry(
            "calibrate", "services.cli.commands.calibrate_commands:calibrate", "Measure encodings of its feature maps."
        ),
        Entry("add", "services.cli.commands.model_commands:add", "Give a model to the fleet."),
        Entry("list", "services.cli.commands.model_commands:list_models", "List the fleet's models."),
    ),
    help="Look into model files; give models to the fleet.",
)

STREAM_APP = lazy_app(
    (
        Entry("add", "services.cli.commands.stream_commands:add", "Declare a stream and wait until it is routed."),
        Entry("list", "services.cli.commands.stream_commands:list_streams", "List streams with their routes."),
        Entry("remove", "services.cli.commands.stream_commands:remove", "Withdraw a stream."),
    ),
    help="Streams: flows of requests from a source device through a model.",
)

DEVICE_APP = lazy_app(
    (
        Entry("list", "services.cli.commands.device_commands:list_devices", "List the devices that the fleet knows."),
        Entry("forget", "services.cli.commands.device_commands:forget", "Forget a device that is gone for good."),
    ),
    help="Devices: what the fleet knows of them.",
)

POLICY_APP = lazy_app(
    (
        Entry(
            "set",
            "services.cli.commands.policy_commands:set_policy",
            "Publish a policy and wait for the planner's verdict.",
        ),
        Entry(
            "show", "services.cli.commands.policy_commands:show", "Show a stream's policy and the planner's verdict."
        ),
    ),
    help="Policies: what is wanted from a stream. They may change at any time.",
)

APP = lazy_app(
    (
        Entry(
            "demo",
            "services.cli.commands.fleet_commands:demo",
            "The whole system on this machine, with disturbances.",
            _TRY,
        ),
        Entry("up", "services.cli.commands.fleet_commands:up", "The same for your own fleet, model and images.", _TRY),
        Entry(
            "doctor",
            "services.cli.commands.doctor_commands:doctor",
            "Find out what is wrong with an installation.",
            _TRY,
        ),
        Entry("model", "services.cli.main:MODEL_APP", "Look into model files; give models to the fleet.", _FLEET),
        Entry("device", "services.cli.main:DEVICE_APP", "List devices; forget those that are gone.", _FLEET),
        Entry("stream", "services.cli.main:STREAM_APP", "Declare, list and remove streams.", _FLEET),
        Entry("policy", "services.cli.main:POLICY_APP", "Say what is wanted from a stream.", _FLEET),
        Entry(
            "submit",
            "services.cli.commands.submit_commands:submit",
            "Send files to a stream and print the results.",
            _FLEET,
        ),
        Entry("top", "services.cli.commands.top_commands:top", "Watch the fleet live.", _FLEET),
        Entry(
            "split",
            "services.cli.commands.model_file_commands:split",
            "Write a model's segments as ONNX files.",
            _OFFLINE,
        ),
        Entry("plan", "services.cli.commands.plan_commands:plan", "Solve a problem file.", _OFFLINE),
        Entry(
            "explain", "services.cli.commands.plan_commands:explain", "Compare the candidates for a problem.", _OFFLINE
        ),
        Entry(
            "simulate",
            "services.cli.commands.simulate_commands:simulate",
            "Run a plan through the simulation.",
            _OFFLINE,
        ),
        Entry("schema", "services.cli.commands.plan_commands:schema", "Print the JSON Schema of a document.", _OFFLINE),
        Entry("broker", "services.cli.commands.broker_commands:broker", "The embedded MQTT broker.", _SERVICES),
        Entry("planner", "services.cli.commands.service_commands:planner", "Decides where segments run.", _SERVICES),
        Entry("executor", "services.cli.commands.service_commands:executor", "Runs segments on a device.", _SERVICES),
        Entry(
            "monitor", "services.cli.commands.service_commands:monitor", "Watches a device and its links.", _SERVICES
        ),
        Entry(
            "collector",
            "services.cli.commands.service_commands:collector",
            "Stores outcomes, traces, reroutes.",
            _SERVICES,
        ),
    ),
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from shared.service_runtime import segue_version

        typer.echo(f"segue {segue_version()}")
        raise typer.Exit


@APP.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Hold the options before the command."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit status; errors of users are lines, not tracebacks."""
    try:
        interrupt_once()
        typer.main.get_command(APP)(args=arguments, prog_name="segue")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.exit(f"error: {error.strerror}")
    except Exception as error:
        from services.cli.support.errors import report

        sys.exit(report(error))


if __name__ == "__main__":
    main()
