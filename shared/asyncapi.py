"""The AsyncAPI 3.0 document of the bus, generated from the topics and the message classes.

Address, direction, quality of service and purpose of a channel come from `shared.bus.topics`. Its messages are the
classes of `shared.messages` whose `TOPIC` it is. This module has no rule for a single topic or message, with one
exception: the payloads of policies and requests are no message classes.
"""

import importlib
import json
import pkgutil
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from pydantic.json_schema import models_json_schema

import shared.messages
from shared.bus import topics
from shared.bus.settings import DEFAULT_ROOT
from shared.bus.topic import Topic
from shared.messages.base import SCHEMA_VERSION, Message
from shared.policy import policy_schema

_SCHEMAS: Final = "#/components/schemas/"

# A policy is a document that people write, a request the application's own bytes: the classes of neither are messages.
# A reply is an outcome, whose class names the results topic. A large outcome is sent on two topics.
_OTHER_MESSAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        topics.policy.name: "Policy",
        topics.requests.name: "Request",
        topics.replies.name: "Outcome",
        topics.outcome_chunks.name: "LargeOutcome",
    }
)


def message_classes() -> tuple[type[Message], ...]:
    """Return every message class, in the order of their definition module by module.

    Messages without a topic are included: they travel inside others.
    """
    found = []
    for module_info in pkgutil.iter_modules(shared.messages.__path__, f"{shared.messages.__name__}."):
        module = importlib.import_module(module_info.name)
        found += [
            value
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, Message) and value.__module__ == module.__name__
        ]
    return tuple(kind for kind in found if kind is not Message)


def messages_on(topic: Topic[...]) -> tuple[type[Message], ...]:
    """Return the message classes that travel on a topic. None for policies and requests."""
    return tuple(kind for kind in message_classes() if kind.TOPIC is topic)


def bus_document() -> dict[str, Any]:
    """Return the AsyncAPI document of the bus under the usual root, as plain JSON values."""
    classes = [kind for kind in message_classes() if kind.TOPIC is not None]
    _, schema = models_json_schema([(kind, "serialization") for kind in classes], ref_template=f"{_SCHEMAS}{{model}}")
    schemas = dict(schema.get("$defs", {}))
    # Pydantic puts the definitions of a lone schema beside it; here all are components of one document.
    policy = json.loads(json.dumps(policy_schema()).replace("#/$defs/", _SCHEMAS))
    schemas |= policy.pop("$defs", {}) | {"Policy": policy}
    channels = {_camel_case(topic.name): _channel(topic) for topic in topics.ALL_TOPICS}
    messages = {kind.__name__: _message(kind) for kind in classes}
    messages["Policy"] = {"contentType": "application/json", "payload": {"$ref": f"{_SCHEMAS}Policy"}}
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


def _channel(topic: Topic[...]) -> dict[str, Any]:
    other = _OTHER_MESSAGES.get(topic.name)
    names: Iterable[str] = [other] if other else [kind.__name__ for kind in messages_on(topic)]
    channel: dict[str, Any] = {
        "address": f"{DEFAULT_ROOT}/{topic.template}",
        "description": f"{topic.summary} From {topic.sender} to {topic.receivers}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {"mqtt": {"bindingVersion": "0.2.0"}},
        "x-mqtt": {"qos": topic.qos, "retain": topic.retained},
    }
    if topic.parameters:
        channel["parameters"] = {name: {"description": f"Name of the {name}."} for name in topic.parameters}
    return channel


def _message(kind: type[Message]) -> dict[str, Any]:
    return {
        "summary": (kind.__doc__ or "").strip().splitlines()[0],
        "payload": {"$ref": f"{_SCHEMAS}{kind.__name__}"},
    }


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
