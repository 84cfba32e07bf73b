"""The codecs that a process knows, by their names on the wire."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from shared.codecs.codec import Codec
from shared.codecs.errors import CodecError
from shared.codecs.staged import ZSTD_SUFFIX, StagedCodec, ZstdCodec, builtin_codecs
from shared.codecs.zstd import Zstd

logger = logging.getLogger(__name__)

ENTRY_POINT_GROUP: Final = "segue.codecs"
RAW: Final = "raw"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}(\+[a-z0-9_-]{1,20}){0,2}\Z")


class CodecRegistry(Mapping[str, Codec]):
    """A read-only map from names to codecs."""

    def __init__(self, codecs: Iterable[Codec]) -> None:
        """Make a registry of `codecs`.

        Raises:
            ValueError: a name is taken twice, or cannot go on the wire.
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
        """Number of codecs."""
        return len(self._table)

    def find(self, name: str) -> Codec:
        """Return the codec called `name`.

        Raises:
            CodecError: there is none.
        """
        codec = self._table.get(name)
        if codec is None:
            raise CodecError(f"no codec is called {name[:80]!r}; there are {', '.join(self._table)}")
        return codec

    def distortion(self, name: str) -> str:
        """Name what decides a codec's effect on the answer: codecs with the same distortion restore the same numbers.

        Raises:
            CodecError: there is no such codec.
        """
        codec = self.find(name)
        if codec.lossless:
            return RAW
        if isinstance(codec, StagedCodec):
            return codec.representation.name
        return name.removesuffix(ZSTD_SUFFIX)


def make_registry(extra: Iterable[Codec] = ()) -> CodecRegistry:
    """Return the built-in codecs and `extra`, each of which is there with zstd behind it as well.

    Raises:
        ValueError: a name is taken twice, or cannot go on the wire.
    """
    zstd = Zstd()
    added = [codec for plain in extra for codec in (plain, ZstdCodec(plain, zstd))]
    return CodecRegistry([*builtin_codecs(), *added])


def load_registry(points: Iterable[EntryPoint] | None = None) -> CodecRegistry:
    """Return the built-in codecs and those that installed packages offer as entry points `segue.codecs`.

    An entry point names a function without arguments, or a class, that makes a codec. One that cannot be loaded, is
    no codec, or whose name is taken is reported and left out.
    """
    extra: list[Codec] = []
    taken = {codec.name for codec in builtin_codecs()}
    for point in entry_points(group=ENTRY_POINT_GROUP) if points is None else points:
        try:
            codec = point.load()()
        except Exception:
            logger.exception("the codec %s of %s cannot be loaded", point.name, point.value)
            continue
        if (
            not isinstance(codec, Codec)
            or not _NAME.match(codec.name)
            or {codec.name, codec.name + ZSTD_SUFFIX} & taken
        ):
            logger.error("the codec %s of %s is no codec, or its name is taken", point.name, point.value)
            continue
        taken |= {codec.name, codec.name + ZSTD_SUFFIX}
        extra.append(codec)
    return make_registry(extra)
