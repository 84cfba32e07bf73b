"""Policy of one stream: the document in force, the one that waits to be judged, and the last verdict."""

from dataclasses import dataclass

from services.planner.coordination.effects import DeleteDocument, Effect, Persist, Publish, announcement
from services.planner.coordination.planner_store import Document, Kind
from services.planner.problems.policies import PolicyRefusal, PolicyRequest, request_document
from shared.bus import topics
from shared.messages.events import EventKind


@dataclass(frozen=True, slots=True)
class PolicyVerdict:
    """Outcome of the policy that was judged last. The reasons of an accepted policy are warnings."""

    revision: str = ""
    accepted: bool = True
    reasons: tuple[str, ...] = ()


class StreamPolicy:
    """The policy of one stream as the planner publishes it. Only the methods change it.

    ``document`` is the policy in force as JSON, empty for the default policy. ``request`` is the newest policy that is
    not judged yet; an older one that waits is dropped. ``verdict`` belongs to the policy judged last, which differs
    from the one in force after a refusal.
    """

    def __init__(self, stream: str, origin: str) -> None:
        """Start with the default policy.

        Args:
            stream: name of the stream.
            origin: name of the planner, for events.
        """
        self._stream = stream
        self._origin = origin
        self._document = b""
        self._verdict = PolicyVerdict()
        self._request: PolicyRequest | None = None

    @property
    def document(self) -> bytes:
        """The policy in force as JSON; empty for the default policy."""
        return self._document

    @property
    def verdict(self) -> PolicyVerdict:
        """The outcome of the policy that was judged last."""
        return self._verdict

    @property
    def request(self) -> PolicyRequest | None:
        """The policy that waits to be judged."""
        return self._request

    def restored(self, revision: str, document: bytes) -> None:
        """Take the policy that was in force before the planner's restart."""
        self._document, self._verdict = document, PolicyVerdict(revision)

    def requested(self, request: PolicyRequest) -> bool:
        """Keep a policy until it is judged; return False for the one in force, which is not judged again."""
        if self._document == request_document(request) and self._verdict.revision == request.revision:
            return False
        self._request = request
        return True

    def accepted(self, request: PolicyRequest, warnings: tuple[str, ...], now_s: float) -> list[Effect]:
        """Put a policy in force."""
        self._document, self._request = request_document(request), None
        self._verdict = PolicyVerdict(request.revision, reasons=warnings)
        # Without a revision, the text has two adjacent spaces.
        text = f"stream {self._stream}: policy {request.revision} is in force".replace("  ", " ")
        return [
            Persist(Document(Kind.POLICY, self._stream, self._document)),
            announcement(self._origin, EventKind.POLICY_ACCEPTED, text, now_s, stream=self._stream),
        ]

    def refused(self, refusal: PolicyRefusal, now_s: float) -> list[Effect]:
        """Stay with the policy in force, and overwrite the refused one on the broker."""
        self._request = None
        self._verdict = PolicyVerdict(refusal.revision, accepted=False, reasons=refusal.reasons)
        text = f"stream {self._stream}: policy refused, the previous one stays: {'; '.join(refusal.reasons)}"
        data = {"revision": refusal.revision, "reasons": list(refusal.reasons)}
        return [
            Publish(topics.policy(self._stream), self._document, retain=True),
            announcement(self._origin, EventKind.POLICY_REFUSED, text, now_s, stream=self._stream, data=data),
        ]

    def reset(self) -> list[Effect]:
        """Go back to the default policy."""
        self._document, self._request, self._verdict = b"", None, PolicyVerdict()
        return [DeleteDocument(Kind.POLICY, self._stream)]
