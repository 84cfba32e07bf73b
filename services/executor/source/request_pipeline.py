"""What sources need of the device's pipeline."""

from typing import Protocol

from services.executor.feature_maps import FeatureMap


class RequestPipeline(Protocol):
    """The part of the device's pipeline that sources use."""

    async def dispatch(self, feature_map: FeatureMap) -> None:
        """Begin a request at the first stage of its route; return when it is admitted or queued for sending."""
        ...

    def cancel(self, stream: str, request_id: str) -> None:
        """Send nothing more of a request, which has its outcome."""
        ...
