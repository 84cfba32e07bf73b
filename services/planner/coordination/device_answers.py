"""What a device's answer to a command means for the epochs of a stream. Pure."""

from services.planner.coordination import epochs as ep
from shared.messages.control import Preparing, Ready, Rejected


def epoch_event(answer: Preparing | Ready | Rejected) -> ep.EpochEvent | None:
    """Return the event; None for a device that has only heard."""
    match answer:
        case Preparing():
            return None
        case Ready(device=device, epoch=epoch):
            return ep.ReadyFrom(device, epoch)
        case Rejected(device=device, epoch=epoch, cause=cause, reason=reason):
            return ep.RejectedBy(device, epoch, cause, reason)
