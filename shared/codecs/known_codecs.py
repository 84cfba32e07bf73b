"""Registry of codecs by their names on the wire: built-in ones, and those of installed packages."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from shared.codecs.codec import Codec
from shared.codecs.errors import CodecError
from shared.codecs.staged import ZSTD_SUFFIX, StagedCodec, ZstdCodec, builtin_codecs
from shared.codecs.zstd import Zstd

_LOGGER = logging.getLogger(__name__)

ENTRY_POINT_GROUP: Final = "segue.codecs"
RAW: Final = "raw"
# Bounds the preamble, whose length of the name is one byte, and keeps names free of separators.
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}(\+[a-z0-9_-]{1,20}){0,2}\Z")


class CodecRegistry(Mapping[str, Codec]):
    """An immutable map from names to codecs, in the order of registration."""

    def __init__(self, codecs: Iterable[Codec]) -> None:
        """Make a registry of `codecs`.

        Raises:
            ValueError: two codecs share a name, or a name is not valid on the wire.
        """
        table: dict[str, Codec] = {}
        for codec in codecs:
            if not _NAME.match(codec.name):
                raise ValueError(f"{codec.name!r} cannot name a codec")
            if codec.name in table:
                raise ValueError(f"two codecs are called {codec.name!r}")
            table[codec.name] = codec
        self._table = table

    def __getitem__(self, name: str) -> Codec:
        """Return the codec called `name`."""
        return self._table[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._table)

    def __len__(self) -> int:
        """Return the number of codecs."""
        return len(self._table)

    def find(self, name: str) -> Codec:
        """Return the codec called `name`.

        Raises:
            CodecError: no codec has this name.
        """
        codec = self._table.get(name)
        if codec is None:
            raise CodecError(f"no codec is called {name[:80]!r}; there are {', '.join(self._table)}")
        return codec

    def distortion(self, name: str) -> str:
        """Return the name of a codec's distortion; codecs with the same distortion restore the same numbers.

        Calibration and shadow checks measure each distortion once, since the packing of the numbers has no effect.

        Raises:
            CodecError: no codec has this name.
        """
        codec = self.find(name)
        if codec.lossless:
            return RAW
        if isinstance(codec, StagedCodec):
            return codec.representation.name
        return name.removesuffix(ZSTD_SUFFIX)


def make_registry(extra: Iterable[Codec] = ()) -> CodecRegistry:
    """Return a registry of the built-in codecs and of `extra`, each also with the suffix `+zstd`.

    Raises:
        ValueError: two codecs share a name, or a name is not valid on the wire.
    """
    zstd = Zstd()
    added = [codec for plain in extra for codec in (plain, ZstdCodec(plain, zstd))]
    return CodecRegistry([*builtin_codecs(), *added])


def load_registry(points: Iterable[EntryPoint] | None = None) -> CodecRegistry:
    """Return a registry of the built-in codecs and of those that installed packages offer.

    A package offers a codec as an entry point of the group `segue.codecs`, which names a class or a function without
    arguments that makes it. A codec that cannot be loaded, is no `Codec`, or has a name in use is logged and left out.

    Args:
        points: entry points to load; none for those of all installed packages.
    """
    extra: list[Codec] = []
    taken = {codec.name for codec in builtin_codecs()}
    for point in entry_points(group=ENTRY_POINT_GROUP) if points is None else points:
        try:
            codec = point.load()()
        # Code of another package may raise anything, and must not keep an executor from starting.
        except Exception:
            _LOGGER.exception("the codec %s of %s cannot be loaded", point.name, point.value)
            continue
        if (
            not isinstance(codec, Codec)
            or not _NAME.match(codec.name)
            or {codec.name, codec.name + ZSTD_SUFFIX} & taken
        ):
            _LOGGER.error("the codec %s of %s is no codec, or its name is taken", point.name, point.value)
            continue
        taken |= {codec.name, codec.name + ZSTD_SUFFIX}
        extra.append(codec)
    return make_registry(extra)
