"""Reference architectures of the published experiments, with seeded weights."""

from shared.model.architectures.catalogue import ARCHITECTURES, build

__all__ = ["ARCHITECTURES", "build"]
