"""The `segue` command: its groups, its help, and the exit status of errors."""

import errno
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from services.cli.support.command_runner import INTERRUPTED, interrupt_once
from services.cli.support.lazy_groups import Entry, lazy_app

_TRY: Final = "Try it"
_FLEET: Final = "A running fleet"
_OFFLINE: Final = "Offline: models and plans"
_SERVICES: Final = "Services, one process each"

_HELP: Final = (
    "Run neural networks across several small computers, and move their segments while they run.\n\n"
    "Start with `segue demo`: a whole fleet on this machine. For your own model, describe a fleet in a FLEET.toml "
    "and run `segue up FLEET.toml`. On several machines, `segue fleet init` makes accounts and certificates; "
    "start `segue broker --fleet`, `planner` and `collector` on one of them, `segue device join`, `executor` and "
    "`monitor` on every device; then `segue model add`, `segue stream add`, `segue submit`.\n\n"
    "Exit status: 0 done, 1 failed, 2 the input is wrong, 3 infeasible, 4 the fleet or its broker is out of reach."
)


def _entry(name: str, target: str, help_line: str, panel: str | None = None) -> Entry:
    module, _, function = target.partition(":")
    return Entry(name, f"services.cli.commands.{module}_commands:{function}", help_line, panel)


MODEL_APP = lazy_app(
    (
        _entry("inspect", "model_file:inspect_command", "Show the blocks of a model and the cuts between them."),
        _entry("calibrate", "calibrate:calibrate_command", "Measure encodings of its feature maps."),
        _entry("add", "model:add_model_command", "Give a model to the fleet."),
        _entry("list", "model_version:list_models_command", "List the fleet's models and their versions."),
        _entry("pin", "model_version:pin_command", "Let a stream keep one version of its model."),
        _entry("rollback", "model_version:rollback_command", "Make an earlier version the current one."),
        _entry("remove", "model_version:remove_model_command", "Remove a model, or one version of it."),
    ),
    help="Inspect model files; give models to the fleet.",
)

STREAM_APP = lazy_app(
    (
        _entry("add", "stream:add_stream_command", "Declare a stream and wait until it is routed."),
        _entry("list", "stream:list_streams_command", "List streams with their routes."),
        _entry("remove", "stream:remove_stream_command", "Withdraw a stream."),
    ),
    help="Streams: flows of requests from a source device through a model.",
)

DEVICE_APP = lazy_app(
    (
        _entry("list", "device:list_devices_command", "List the devices of the fleet."),
        _entry("forget", "device:forget_device_command", "Forget a device that is gone for good."),
        _entry("trust", "device:trust_planner_command", "Show or change whose plans this device follows."),
        _entry("join", "join:join_command", "Join a fleet with an enrolment string."),
        _entry("install", "install:install_device_command", "Let executor and monitor start with this machine."),
        _entry("uninstall", "install:uninstall_device_command", "Remove the services of this device."),
    ),
    help="Devices: their state, links and profiles on the bus.",
)

FLEET_APP = lazy_app(
    (
        _entry("init", "closed_fleet:init_command", "Make a fleet: certificates, accounts, access rules."),
        _entry("add-device", "closed_fleet:add_device_command", "Add a device; print its enrolment string."),
        _entry("add-stream", "closed_fleet:add_stream_command", "Let a device receive the requests of a stream."),
        _entry("add-application", "closed_fleet:add_application_command", "Add an application for some streams."),
        _entry("add-account", "closed_fleet:add_account_command", "Add an operator, viewer or collector."),
        _entry("bridge", "bridge:bridge_command", "Write the broker of a further site, bridged to the first."),
        _entry("list", "closed_fleet:list_command", "List the accounts."),
        _entry("rotate", "closed_fleet:rotate_command", "Give an account a new password, or the broker a certificate."),
        _entry("revoke", "closed_fleet:revoke_command", "Remove an account."),
        _entry(
            "install", "install:install_server_command", "Let broker, planner and collector start with the machine."
        ),
        _entry("uninstall", "install:uninstall_server_command", "Remove the services of this server."),
    ),
    help="A fleet that is closed to others: accounts and rights on Mosquitto, TLS.",
)

POLICY_APP = lazy_app(
    (
        _entry("set", "policy:set_policy_command", "Publish a policy and wait for the planner's answer."),
        _entry("show", "policy:show_policy_command", "Show a stream's policy and the planner's answer."),
    ),
    help="Policies: objective and constraints of a stream. They may change at any time.",
)

APP = lazy_app(
    (
        _entry("demo", "fleet:demo_command", "Run the whole system on this machine, with disturbances.", _TRY),
        _entry("up", "fleet:up_command", "Run your own fleet, model and images on this machine.", _TRY),
        _entry("doctor", "doctor:doctor_command", "Check an installation and its fleet.", _TRY),
        _entry("health", "health:health_command", "Ask the services on this machine whether they work.", _SERVICES),
        Entry("model", "services.cli.main:MODEL_APP", "Inspect model files; give models to the fleet.", _FLEET),
        Entry(
            "device",
            "services.cli.main:DEVICE_APP",
            "List devices, forget those that are gone, and choose whose plans one follows.",
            _FLEET,
        ),
        Entry(
            "fleet",
            "services.cli.main:FLEET_APP",
            "Make a fleet that is closed to others; add and revoke members.",
            _FLEET,
        ),
        Entry("stream", "services.cli.main:STREAM_APP", "Declare, list and remove streams.", _FLEET),
        Entry("policy", "services.cli.main:POLICY_APP", "Set and show objectives and constraints of streams.", _FLEET),
        _entry("submit", "submit:submit_command", "Send files to a stream and print the results.", _FLEET),
        _entry("top", "top:top_command", "Watch the fleet live.", _FLEET),
        _entry("split", "model_file:split_command", "Write a model's segments as ONNX files.", _OFFLINE),
        _entry("plan", "plan:plan_command", "Solve a problem file.", _OFFLINE),
        _entry("explain", "explain:explain_command", "Compare the strategies on a problem.", _OFFLINE),
        _entry("simulate", "simulate:simulate_command", "Run a plan through the simulation.", _OFFLINE),
        _entry("schema", "plan:schema_command", "Print the JSON Schema of a document.", _OFFLINE),
        _entry("broker", "broker:broker_command", "Run the embedded MQTT broker.", _SERVICES),
        _entry("planner", "service:planner_command", "Decide where segments run.", _SERVICES),
        _entry("executor", "service:executor_command", "Run segments on a device.", _SERVICES),
        _entry("monitor", "service:monitor_command", "Watch a device and its links.", _SERVICES),
        _entry("collector", "service:collector_command", "Store outcomes, traces and reroutes.", _SERVICES),
    ),
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_given: bool) -> None:
    if is_given:
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
    """Run the command line and end the process with its exit status. Errors of users are lines, not tracebacks."""
    try:
        _run(arguments)
    except SystemExit as ending:
        from shared.time_limits import end_process

        end_process(ending.code)


def _run(arguments: Sequence[str] | None) -> None:
    # No validator of Segue has a plugin, and the search for one reads the metadata of every installed package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
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
        # Imported here: `segue --help` must not load the bus and the messages.
        from services.cli.support.errors import report

        sys.exit(report(error))


if __name__ == "__main__":
    main()
