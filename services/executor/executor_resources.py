"""What a running executor holds open: connections, journal, compute thread, and the files that it trusts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from services.executor.announcer import Announcer
from services.executor.config import ExecutorConfig
from services.executor.device_resources import segment_cores
from services.executor.planner_trust import PlannerTrust
from services.executor.segments.processor import Processor
from services.executor.source.journal_thread import JournalThread
from services.executor.source.request_limit import largest_result_bytes
from services.executor.trust_files import TrustFiles
from shared.bus import topics
from shared.bus.connection import Connection, Will, unique_client_id
from shared.bus.feature_maps.chunk_sender import UNCONFIRMED_CHUNKS
from shared.bus.feature_maps.transport import BrokerTransport
from shared.codecs import CodecRegistry, load_registry
from shared.direct.direct_transport import DirectTransport
from shared.duplicate_names import NameClaim
from shared.messages.devices import State
from shared.processing_clock import ProcessingClock
from shared.transport_mode import Carrier


@dataclass(frozen=True, slots=True)
class ExecutorResources:
    """Everything of an executor that is opened, and closed in the opposite order."""

    journal: JournalThread
    processor: Processor
    control: Connection
    bulk: BrokerTransport
    outputs: Connection
    direct: DirectTransport | None
    codecs: CodecRegistry
    processing: ProcessingClock
    trust_files: TrustFiles
    first_cores: float
    largest_result_bytes: int


@asynccontextmanager
async def open_resources(config: ExecutorConfig, announcer: Announcer) -> AsyncIterator[ExecutorResources]:
    """Open journal, processor and connections."""
    device, settings = config.device, config.broker
    offline = announcer.presence.model_copy(update={"state": State.OFFLINE})
    async with AsyncExitStack() as stack:
        claim = NameClaim.of_device(announcer.presence)
        journal = await stack.enter_async_context(JournalThread.open(config.journal_path, settings, claim))
        processor = await stack.enter_async_context(Processor.open())
        control = await stack.enter_async_context(
            Connection.open(
                settings,
                client_id=f"segue-executor-{device}",
                will=Will(topics.presence(device), offline.encode()),
                on_connected=announcer.announce,
                connect_timeout_s=config.connect_timeout_s,
            )
        )
        bulk = await stack.enter_async_context(
            BrokerTransport.open(settings, device, connect_timeout_s=config.connect_timeout_s)
        )
        outputs = await stack.enter_async_context(
            Connection.open(
                settings,
                client_id=unique_client_id(f"{device}-outputs"),
                receive_maximum=UNCONFIRMED_CHUNKS,
                connect_timeout_s=config.connect_timeout_s,
            )
        )
        direct: DirectTransport | None = None
        if config.transport.allows(Carrier.DIRECT):
            boot_id = announcer.presence.boot_id
            direct = await stack.enter_async_context(DirectTransport.open(device, boot_id, config.direct_settings))
            announcer.presence = announcer.presence.model_copy(update={"direct": direct.access})
        processing = stack.enter_context(ProcessingClock())
        trust = PlannerTrust(device, settings.root, config.planner_keys)
        files = TrustFiles(config.journal_path.parent, trust)
        await asyncio.to_thread(files.load)
        codecs = await asyncio.to_thread(load_registry)
        cores = await asyncio.to_thread(segment_cores, config.engine.threads)
        largest_bytes = await asyncio.to_thread(largest_result_bytes)
        yield ExecutorResources(
            journal,
            processor,
            control,
            bulk,
            outputs,
            direct,
            codecs,
            processing,
            files,
            cores,
            largest_bytes,
        )
