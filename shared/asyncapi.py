"""The AsyncAPI 3.0 document of the bus, generated from the message classes."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from shared.bus import topics
from shared.bus.settings import DEFAULT_ROOT
from shared.messages import alternatives, calibration, control, devices, events, explanations, models, requests, streams
from shared.messages.base import SCHEMA_VERSION
from shared.policy import policy_schema


@dataclass(frozen=True, slots=True)
class Channel:
    """One topic: who sends what to whom, and how."""

    name: str
    address: str
    messages: tuple[type[BaseModel], ...]
    sender: str
    receivers: str
    retained: bool
    qos: int
    summary: str


CHANNELS: tuple[Channel, ...] = (
    Channel(
        "presence",
        topics.presence("{device}"),
        (devices.Presence,),
        "executor",
        "all",
        True,
        1,
        "A device's executor comes or goes; offline is its last will, or the planner's word for one that is silent.",
    ),
    Channel(
        "servicePresence",
        topics.service("{name}"),
        (devices.ServicePresence,),
        "planner, collector, monitor",
        "all",
        True,
        1,
        "A service comes or goes; offline is its last will.",
    ),
    Channel(
        "telemetry",
        topics.telemetry("{device}"),
        (devices.Telemetry,),
        "monitor",
        "planner, collector",
        False,
        0,
        "Processor, memory, temperature, power and load factor of a device.",
    ),
    Channel(
        "links",
        topics.links("{device}"),
        (devices.Links,),
        "monitor",
        "planner, collector",
        True,
        1,
        "Bandwidth and latency of the links that leave a device.",
    ),
    Channel(
        "profiles",
        topics.profile("{device}", "{model}"),
        (devices.Profile,),
        "executor",
        "planner and the device itself",
        True,
        1,
        "Measured cost of a model's blocks on a device.",
    ),
    Channel(
        "observations",
        topics.observations("{device}"),
        (devices.ComputeObservation, devices.TransferObservation),
        "executor",
        "monitor of the same device",
        False,
        0,
        "What segments and transfers really took.",
    ),
    Channel(
        "receipts",
        topics.receipts("{device}"),
        (devices.Receipt,),
        "receiving executor",
        "sending executor",
        False,
        0,
        "A transfer has arrived whole.",
    ),
    Channel(
        "probes", topics.probes("{device}"), (devices.Probe,), "monitor", "monitor", False, 0, "Measures an idle link."
    ),
    Channel(
        "emulation",
        topics.emulation("{device}"),
        (devices.Emulation,),
        "demo",
        "executor and monitor",
        True,
        1,
        "What an emulated device pretends; real devices ignore it.",
    ),
    Channel(
        "commands",
        topics.commands("{device}"),
        (control.ProfileModel, control.Prepare, control.Release),
        "planner",
        "executor",
        False,
        1,
        "Profile a model, prepare an epoch, release epochs.",
    ),
    Channel(
        "reports",
        topics.reports("{device}"),
        (control.Preparing, control.Ready, control.Rejected, control.ProfileFailed),
        "executor",
        "planner",
        False,
        1,
        "Answers to commands.",
    ),
    Channel(
        "inbox",
        topics.inbox("{device}"),
        (requests.FeatureMapHeader,),
        "executor",
        "executor",
        False,
        1,
        "Feature maps in chunks; put together, a msgpack header followed by the tensors (docs/wire.md).",
    ),
    Channel("manifest", topics.manifest("{model}"), (models.Manifest,), "planner", "all", True, 1, "What a model is."),
    Channel(
        "calibration",
        topics.calibration("{model}"),
        (calibration.Calibration,),
        "whoever calibrates",
        "planner",
        True,
        1,
        "What encodings of a model's feature maps cost, and what they do to its answer.",
    ),
    Channel(
        "shadow",
        topics.shadow("{model}"),
        (calibration.ShadowReport,),
        "executor",
        "planner",
        False,
        0,
        "What an encoding did to one answer in the field.",
    ),
    Channel(
        "offer",
        topics.offer("{model}"),
        (models.Offer,),
        "publisher",
        "planner",
        False,
        1,
        "A model for the fleet's library.",
    ),
    Channel(
        "pulls",
        topics.pulls("{model}", "{provider}"),
        (models.Pull,),
        "receiver",
        "provider",
        False,
        1,
        "Asks for some of a model's bytes.",
    ),
    Channel(
        "modelChunks",
        topics.model_chunks("{model}", "{receiver}"),
        (models.ModelChunk,),
        "provider",
        "receiver",
        False,
        1,
        "Some of a model's bytes, checked.",
    ),
    Channel(
        "stream",
        topics.stream("{stream}"),
        (streams.StreamDeclaration,),
        "application",
        "planner",
        True,
        1,
        "One flow of requests: model, source device, rate.",
    ),
    Channel(
        "plan",
        topics.plan("{stream}"),
        (streams.CommittedPlan,),
        "planner",
        "executors, collector",
        True,
        1,
        "The plan in force.",
    ),
    Channel(
        "status",
        topics.status("{stream}"),
        (streams.StreamStatus,),
        "planner",
        "people",
        True,
        1,
        "What the planner makes of a stream and its policy.",
    ),
    Channel(
        "usage",
        topics.usage("{stream}"),
        (streams.StreamUsage,),
        "source executor",
        "planner",
        True,
        1,
        "The size and rate of a stream's requests.",
    ),
    Channel(
        "alternatives",
        topics.alternatives("{stream}"),
        (alternatives.Alternatives,),
        "planner",
        "source executor, people",
        True,
        1,
        "Within which bandwidths and loads the plan stays the best, and which route is next.",
    ),
    Channel(
        "questions",
        topics.questions("{stream}"),
        (explanations.Question,),
        "people",
        "planner",
        False,
        1,
        "Asks for the present problem of a stream.",
    ),
    Channel(
        "explanations",
        topics.explanation("{stream}", "{asker}"),
        (explanations.Explanation,),
        "planner",
        "whoever has asked",
        False,
        1,
        "The present problem of a stream, or what it waits for, and its last reroutes.",
    ),
    Channel(
        "results",
        topics.results("{stream}"),
        (requests.Outcome,),
        "last executor, or the source for errors",
        "application, source, collector",
        False,
        1,
        "The one result or the one error of a request: JSON, or msgpack when asked.",
    ),
    Channel(
        "confirmations",
        topics.CONFIRMATIONS,
        (requests.Confirmation,),
        "collector",
        "source executors",
        False,
        1,
        "These outcomes are stored.",
    ),
    Channel(
        "events",
        topics.EVENTS,
        (events.Event,),
        "any",
        "collector, people",
        False,
        1,
        "Reroutes with their reason, rejections, failures.",
    ),
)
"""Every topic with a message class of its own; policies and requests are added below."""


def bus_document() -> dict[str, Any]:
    """Return the AsyncAPI document of the bus under the usual root."""
    classes = list(dict.fromkeys(message for channel in CHANNELS for message in channel.messages))
    _, schema = models_json_schema(
        [(message, "serialization") for message in classes], ref_template="#/components/schemas/{model}"
    )
    schemas = dict(schema.get("$defs", {}))
    policy = json.loads(json.dumps(policy_schema()).replace("#/$defs/", "#/components/schemas/"))
    schemas |= policy.pop("$defs", {}) | {"Policy": policy}
    channels = {channel.name: _channel(channel) for channel in CHANNELS}
    channels["policy"] = _special(
        "policy", topics.policy("{stream}"), "Policy", "A stream's policy, JSON or msgpack (retained)."
    )
    channels["requests"] = _special(
        "request",
        topics.requests("{stream}"),
        None,
        "The bytes of a JPEG, a PNG or the input tensor. User properties: request_id, accept.",
    )
    messages = {message.__name__: _message(message) for message in classes}
    messages["Policy"] = {"contentType": "application/json", "payload": {"$ref": "#/components/schemas/Policy"}}
    messages["Request"] = {"contentType": "image/jpeg", "payload": {"type": "string", "format": "binary"}}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Segue",
            "version": f"{SCHEMA_VERSION}",
            "description": f"Schema version {SCHEMA_VERSION}. Messages are msgpack maps; JSON is read too.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/msgpack",
        "channels": channels,
        "operations": {
            f"send_{name}": {"action": "send", "channel": {"$ref": f"#/channels/{name}"}} for name in channels
        },
        "components": {"messages": messages, "schemas": schemas},
    }


def _channel(channel: Channel) -> dict[str, Any]:
    return _entry(
        f"{DEFAULT_ROOT}/{channel.address}",
        f"{channel.summary} From {channel.sender} to {channel.receivers}.",
        (message.__name__ for message in channel.messages),
        channel.retained,
        channel.qos,
    )


def _special(name: str, address: str, message: str | None, summary: str) -> dict[str, Any]:
    return _entry(f"{DEFAULT_ROOT}/{address}", summary, [message or name.capitalize()], name == "policy", 1)


def _entry(address: str, description: str, messages: Iterable[str], retained: bool, qos: int) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "address": address,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {"mqtt": {"bindingVersion": "0.2.0"}},
        "x-mqtt": {"qos": qos, "retain": retained},
    }
    parameters = [part[1:-1] for part in address.split("/") if part.startswith("{")]
    if parameters:
        entry["parameters"] = {name: {"description": f"Name of the {name}."} for name in parameters}
    return entry


def _message(message: type[BaseModel]) -> dict[str, Any]:
    return {
        "summary": (message.__doc__ or "").strip().splitlines()[0],
        "payload": {"$ref": f"#/components/schemas/{message.__name__}"},
    }
