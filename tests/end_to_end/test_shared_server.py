"""Two streams with a camera each share one server, whose queue discipline the policy names: real processes."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from shared.messages.requests import OutcomeStatus, StageTrace
from tests.support.planned_executors import PlannedExecutors, open_planned, photograph

JOBS = 6
STREAMS = {"long": ("east", "squeezenet"), "short": ("west", "tiny")}
"""The camera and the model of each stream."""
SERVER = "server"
SLOWDOWN = 6.0
MARGIN_S = 0.02
"""Between a job's arrival and the moment at which the queue knows it."""


@dataclass
class Served:
    """A job at the server, seconds of one clock."""

    stream: str
    received_s: float
    started_s: float


def _job(stream: str, trace: StageTrace) -> Served:
    assert trace.device == SERVER
    return Served(stream, trace.received_at_s, trace.received_at_s + trace.queue_ms / 1000)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[PlannedExecutors]:
    cameras = [camera for camera, _ in STREAMS.values()]
    async with open_planned(tmp_path, (SERVER, *cameras)) as opened:
        for device in (SERVER, *cameras):
            await opened.emulate(device, SLOWDOWN)
        for stream, (camera, architecture) in STREAMS.items():
            await opened.measure_links(camera, SERVER, 100.0)
            await opened.declare(stream, await opened.add(architecture), camera)
        await opened.until(lambda: opened.plans.keys() >= STREAMS.keys())
        yield opened


async def rush(fleet: PlannedExecutors, queue: str) -> list[Served]:
    """Let both streams send all at once, the long jobs first; return the jobs in the order in which they began."""
    for stream in STREAMS:
        await fleet.demand(stream, strategy="remote_only", queue=queue, max_in_flight=JOBS, codec="lossless")
    await fleet.until(lambda: all(fleet.plans[stream].queue == queue for stream in STREAMS))
    payload = photograph()
    request_ids: list[str] = []
    for stream in ("long", "short"):
        request_ids += await fleet.submit(stream, payload, *(f"{queue}-{stream}-{number}" for number in range(JOBS)))
    outcomes = [await fleet.outcome(request_id) for request_id in request_ids]
    assert all(outcome.status is OutcomeStatus.OK for outcome in outcomes)
    jobs = [_job(outcome.stream, outcome.trace[-1]) for outcome in outcomes]
    return sorted(jobs, key=lambda job: job.started_s)


def overtakings(jobs: list[Served]) -> int:
    """Return how many pairs were started in another order than they arrived."""
    pairs = ((first, second) for place, first in enumerate(jobs) for second in jobs[place + 1 :])
    return sum(second.received_s + MARGIN_S < first.received_s for first, second in pairs)


def passed_over(jobs: list[Served], by: str) -> list[Served]:
    """Return the jobs of another stream that waited while a job of `by` was started."""
    return [
        other
        for job in jobs
        for other in jobs
        if job.stream == by != other.stream and other.received_s + MARGIN_S < job.started_s < other.started_s
    ]


async def test_the_server_keeps_the_discipline_that_the_policies_ask_for(fleet: PlannedExecutors) -> None:
    jobs = await rush(fleet, "shortest_job_first")
    assert not passed_over(jobs, by="long")
    assert passed_over(jobs, by="short")
    assert jobs[-1].stream == "long"

    jobs = await rush(fleet, "round_robin")
    both_wait = [
        (before, job)
        for before, job in pairwise(jobs)
        if any(
            other.stream != before.stream and other.received_s + MARGIN_S < job.started_s <= other.started_s
            for other in jobs
        )
    ]
    assert len(both_wait) >= JOBS / 2
    assert all(before.stream != job.stream for before, job in both_wait)

    jobs = await rush(fleet, "fifo")
    assert overtakings(jobs) == 0
