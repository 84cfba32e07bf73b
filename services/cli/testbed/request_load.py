"""A steady load of requests, recorded with their outcomes."""

import asyncio
import itertools
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.cli.testbed.run_record import RequestRecord
from shared.client import Client, ClientTimeout
from shared.messages.requests import Outcome

_LOGGER = logging.getLogger(__name__)

# Returns whether the outcome of a payload differs from the expected one.
Differs = Callable[[bytes, Outcome], bool]


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """Rate and extent of a load.

    Attributes:
        stream: the stream of the requests.
        in_flight: requests under way at most.
        rate_hz: requests per second; None for the next one as soon as one has its outcome.
        limit: number of requests; None for no limit.
        timeout_s: time after which a request without an outcome counts as lost.
    """

    stream: str
    in_flight: int
    rate_hz: float | None = None
    limit: int | None = None
    timeout_s: float = 60.0


class RequestLoad:
    """Submits payloads in turn until it is stopped. Requests under way at that time still get their outcomes.

    `records` grows by one record per request, in the order of the outcomes. Only the workers append to it.
    """

    def __init__(
        self,
        client: Client,
        payloads: Sequence[bytes],
        settings: LoadSettings,
        differs: Differs,
        files: Mapping[bytes, str] | None = None,
    ) -> None:
        """Prepare to submit `payloads`, the first again after the last.

        Args:
            client: connected.
            payloads: at least one.
            settings: rate and extent.
            differs: compares an outcome with the expected one; called off the event loop.
            files: names of the payloads' files, for the records.
        """
        self.records: list[RequestRecord] = []
        self._client = client
        self._settings = settings
        self._differs = differs
        self._files = files or {}
        self._remaining: Iterator[bytes] = itertools.islice(itertools.cycle(payloads), settings.limit)
        self._stopped = asyncio.Event()
        self._pace = asyncio.Lock()
        self._next_at_s = 0.0

    def stop(self) -> None:
        """Submit nothing more."""
        self._stopped.set()

    async def run(self) -> None:
        """Submit until stopped, or until the limit is reached.

        Raises:
            BusError: requests cannot be published.
        """
        async with asyncio.TaskGroup() as group:
            for number in range(self._settings.in_flight):
                group.create_task(self._work(), name=f"load {number}")

    async def _work(self) -> None:
        while not self._stopped.is_set():
            await self._wait_for_turn()
            payload = None if self._stopped.is_set() else next(self._remaining, None)
            if payload is None:
                return
            self.records.append(await self._submit(payload))

    async def _wait_for_turn(self) -> None:
        """Wait for the next turn. A late turn delays all later ones, so that there are no bursts."""
        if self._settings.rate_hz is None:
            return
        async with self._pace:
            now_s = time.monotonic()
            wait_s = self._next_at_s - now_s
            self._next_at_s = max(now_s, self._next_at_s) + 1 / self._settings.rate_hz
            if wait_s > 0:
                try:
                    async with asyncio.timeout(wait_s):
                        await self._stopped.wait()
                except TimeoutError:
                    return

    async def _submit(self, payload: bytes) -> RequestRecord:
        request_id = uuid.uuid4().hex
        submitted_at_s = time.time()
        try:
            outcome = await self._client.submit(
                self._settings.stream,
                payload,
                timeout_s=self._settings.timeout_s,
                whole_outputs=True,
                request_id=request_id,
            )
        except ClientTimeout as error:
            _LOGGER.warning("%s", error)
            return RequestRecord(request_id, submitted_at_s, time.time(), None, file=self._files.get(payload, ""))
        finished_at_s = time.time()
        # In a thread, because the comparison may run the whole model.
        mismatch = await asyncio.to_thread(self._differs, payload, outcome)
        file = self._files.get(payload, "")
        return RequestRecord(request_id, submitted_at_s, finished_at_s, outcome, mismatch, file)
