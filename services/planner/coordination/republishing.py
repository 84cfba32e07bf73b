"""What a planner publishes again after it has connected: everything retained that it owns."""

from collections.abc import Collection, Mapping

from services.planner.coordination.effects import Effect, Publish, retained
from services.planner.coordination.stream_record import StreamRecord
from services.planner.problems.snapshot import FleetSnapshot
from shared.bus import topics


def owned(snapshot: FleetSnapshot, library: Collection[str], records: Mapping[str, StreamRecord]) -> list[Effect]:
    """Return the retained messages of models in the library, their calibrations, and all streams.

    Statuses are noted in ``records`` as published.
    """
    effects: list[Effect] = [retained(topics.manifest(model), snapshot.manifests[model]) for model in sorted(library)]
    effects += [retained(topics.calibration(model), each) for model, each in snapshot.calibrations.items()]
    for stream, record in records.items():
        declaration, plan = snapshot.streams.get(stream), record.epochs.committed
        if declaration is not None:
            effects.append(retained(topics.stream(stream), declaration))
        if record.policy_document:
            effects.append(Publish(topics.policy(stream), record.policy_document, retain=True))
        if plan is not None:
            effects.append(retained(topics.plan(stream), plan))
        if record.alternatives is not None:
            effects.append(retained(topics.alternatives(stream), record.alternatives))
        if declaration is not None:
            record.published = record.status()
            effects.append(retained(topics.status(stream), record.published))
    return effects
