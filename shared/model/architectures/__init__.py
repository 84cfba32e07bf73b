"""The architectures of the papers, with seeded weights, so that every experiment runs offline."""

from shared.model.architectures.catalogue import ARCHITECTURES, build

__all__ = ["ARCHITECTURES", "build"]
