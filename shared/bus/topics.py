"""Every topic under the root, and nowhere else (design section 3)."""

import re
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")

EVENTS: Final = "events"
CONFIRMATIONS: Final = "collector/confirmations"

ANY_PRESENCE: Final = "devices/+/presence"
ANY_TELEMETRY: Final = "devices/+/telemetry"
ANY_LINKS: Final = "devices/+/links"
ANY_PROFILE: Final = "devices/+/profiles/+"
ANY_REPORT: Final = "devices/+/reports"
ANY_SERVICE: Final = "services/+/presence"
ANY_MANIFEST: Final = "models/+"
ANY_CALIBRATION: Final = "models/+/calibration"
ANY_SHADOW: Final = "models/+/shadow"
ANY_OFFER: Final = "models/+/offer"
ANY_STREAM: Final = "streams/+"
ANY_POLICY: Final = "streams/+/policy"
ANY_PLAN: Final = "streams/+/plan"
ANY_STATUS: Final = "streams/+/status"
ANY_USAGE: Final = "streams/+/usage"
ANY_ALTERNATIVES: Final = "streams/+/alternatives"
ANY_QUESTION: Final = "streams/+/questions"
ANY_RESULT: Final = "streams/+/results"


def is_name(text: str) -> bool:
    """Whether `text` may name a device, a stream or a service: 1 to 64 of letters, digits, `_`, `.` and `-`."""
    return _NAME.match(text) is not None


def presence(device: str) -> str:
    """Return the topic of a device's presence (retained, and its last will)."""
    return f"devices/{device}/presence"


def telemetry(device: str) -> str:
    """Return the topic of a device's telemetry."""
    return f"devices/{device}/telemetry"


def links(device: str) -> str:
    """Return the topic of the links that leave a device (retained)."""
    return f"devices/{device}/links"


def profile(device: str, model: str) -> str:
    """Return the topic of a device's measured profile of a model (retained)."""
    return f"devices/{device}/profiles/{model}"


def commands(device: str) -> str:
    """Return the topic of the planner's commands to a device."""
    return f"devices/{device}/commands"


def reports(device: str) -> str:
    """Return the topic of a device's answers to commands."""
    return f"devices/{device}/reports"


def observations(device: str) -> str:
    """Return the topic on which an executor tells its own monitor what it measured."""
    return f"devices/{device}/observations"


def inbox(device: str) -> str:
    """Return the topic of the feature maps sent to a device, in chunks."""
    return f"devices/{device}/inbox"


def receipts(device: str) -> str:
    """Return the topic on which receivers acknowledge transfers from a device."""
    return f"devices/{device}/receipts"


def probes(device: str) -> str:
    """Return the topic of the link probes sent to a device's monitor, and of the echoes that come back to it."""
    return f"devices/{device}/probes"


def emulation(device: str) -> str:
    """Return the topic that shapes an emulated device (retained; ignored by real ones)."""
    return f"devices/{device}/emulation"


def service(name: str) -> str:
    """Return the topic of a planner's, collector's or monitor's presence (retained, and its last will)."""
    return f"services/{name}/presence"


def manifest(model: str) -> str:
    """Return the topic of a model's manifest (retained)."""
    return f"models/{model}"


def calibration(model: str) -> str:
    """Return the topic of what a model's encodings cost and do to the answer (retained)."""
    return f"models/{model}/calibration"


def shadow(model: str) -> str:
    """Return the topic of what encodings of a model do to the answers in the field."""
    return f"models/{model}/shadow"


def offer(model: str) -> str:
    """Return the topic on which a publisher offers a model's bytes to the planner's library."""
    return f"models/{model}/offer"


def pulls(model: str, provider: str) -> str:
    """Return the topic on which chunks of a model are asked from a provider."""
    return f"models/{model}/pulls/{provider}"


def model_chunks(model: str, receiver: str) -> str:
    """Return the topic of the chunks of a model on their way to a receiver."""
    return f"models/{model}/chunks/{receiver}"


def stream(name: str) -> str:
    """Return the topic of a stream's declaration (retained)."""
    return f"streams/{name}"


def policy(stream_name: str) -> str:
    """Return the topic of a stream's policy (retained)."""
    return f"streams/{stream_name}/policy"


def plan(stream_name: str) -> str:
    """Return the topic of a stream's committed plan (retained)."""
    return f"streams/{stream_name}/plan"


def status(stream_name: str) -> str:
    """Return the topic of what the planner says of a stream and its policy (retained)."""
    return f"streams/{stream_name}/status"


def usage(stream_name: str) -> str:
    """Return the topic of the request size and rate that a source sees (retained)."""
    return f"streams/{stream_name}/usage"


def alternatives(stream_name: str) -> str:
    """Return the topic of the ranges in which a stream's plan stays the best, and of what is next (retained)."""
    return f"streams/{stream_name}/alternatives"


def questions(stream_name: str) -> str:
    """Return the topic on which the planner is asked for a stream's present problem."""
    return f"streams/{stream_name}/questions"


def explanation(stream_name: str, asker: str) -> str:
    """Return the topic of the planner's answer to whoever has asked."""
    return f"streams/{stream_name}/explanations/{asker}"


def requests(stream_name: str) -> str:
    """Return the topic of a stream's requests."""
    return f"streams/{stream_name}/requests"


def results(stream_name: str) -> str:
    """Return the topic of a stream's results."""
    return f"streams/{stream_name}/results"
