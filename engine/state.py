"""What all calls of one Reranker share: the loaded model, its profile, the caches."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from minireranker.cache import Cache, MemoryCache, Namespace, PrefixEntry, SuffixEntry
from minireranker.configs import Profile
from minireranker.models.qwen3_vl import Qwen3VL

from .draft import Segment
from .embedder import Embedder
from .features import FeatureReader
from .graphs import Graphs
from .guide import Guide
from .library import Library
from .packing import Packer
from .prefix import Band, Header, read_header
from .prompt import Prompt
from .work import Meter

HEADER_BYTES = 2**28
"""Bound on the K/V of headers, beside the cache: a few megabytes an instruction at 2B."""


@dataclass(eq=False)
class EngineState:
    """Shared by the calls of one Reranker."""

    checkpoint: Path
    model: Qwen3VL
    profile: Profile
    prompt: Prompt
    band: Band
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    namespace: Namespace
    """What all cache keys have in common: weights, processor, profile, embedder, dtype, device,
    codec."""
    cache: Cache
    backend: str
    batch_tokens: int
    library: Library
    embedder: Embedder | None = None
    """Whose attention says which visual tokens are kept."""
    graphs: Graphs | None = None
    """Recorded passes of the model, where it records any."""
    _headers: MemoryCache = field(default_factory=lambda: MemoryCache(HEADER_BYTES))

    def __post_init__(self) -> None:
        """Tell the cache whose entries these are going to be."""
        self.cache.memory.register(self.namespace)

    def packer(self, meter: Meter) -> Packer:
        """What turns segments into decoder input, counting with ``meter``."""
        features = FeatureReader(
            self.model, self.pixel_mean, self.pixel_std, meter, (self.cache, self.namespace)
        )
        return Packer(self.model, features, meter)

    def guide(self, meter: Meter) -> Guide:
        """What prunes a call's visual tokens, counting with ``meter``."""
        return Guide(self.embedder, self.profile, meter, (self.cache, self.namespace))

    def header(self, segment: Segment, packer: Packer) -> Header:
        """K and V of a header, computed once while it is in use."""
        key = segment.digest().hex()
        header = self._headers.get(key, Header)
        if header is None:
            header = read_header(packer, segment, self.band.exit_layer, self.backend)
            self._headers.put(key, header)
        return header

    def prefix_key(self, header: Segment, segment: Segment) -> str:
        """The cache key of a first segment behind a header."""
        return self._key(PrefixEntry.__name__, header, segment, header.span)

    def suffix_key(self, header: Segment, segment: Segment, start: int) -> str:
        """The cache key of a second segment's state below the band, at a start position."""
        return self._key(SuffixEntry.__name__, header, segment, start)

    def _key(self, kind: str, header: Segment, segment: Segment, start: int) -> str:
        return self.namespace.key(
            {
                "kind": kind,
                "header": header.digest(),
                "segment": segment.digest(),
                "start": start,
            }
        )
