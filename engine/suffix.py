"""Second segments below the band: what they are before they meet any first segment.

Method, section 4: a second segment sees the header and itself there, so its state depends on the
first segment only through where it starts. One state serves every first segment of that span.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from minireranker.cache import SuffixEntry
from minireranker.kernels.band_attention import band_attention
from minireranker.models.qwen3_vl import Projected

from .draft import Segment
from .packing import Packer
from .prefix import Header


def read_suffixes(
    packer: Packer,
    header: Header,
    segments: Sequence[Segment],
    starts: Sequence[int],
    meeting_layer: int,
    backend: str,
) -> list[SuffixEntry]:
    """States entering ``meeting_layer``, one for each (segment, absolute start)."""
    packed = packer.pack(segments, starts, keep_features=True)

    def attend(layer: int, heads: Projected) -> Tensor:
        return band_attention(
            *heads,
            cu_seqlens_q=packed.cu_seqlens,
            cu_seqlens_k=packed.cu_seqlens,
            header=header.layers[layer],
            backend=backend,
        )

    layers = range(meeting_layer)
    x = packer.model.decoder.run(packed.x, packed.rope, layers, attend, packed.injections)
    packer.meter.count(suffix_token_layers=packed.cu_seqlens[-1] * meeting_layer)
    rows = [
        slice(start, stop)
        for start, stop in zip(packed.cu_seqlens, packed.cu_seqlens[1:], strict=False)
    ]
    # Cloned, so that an entry kept in a cache does not keep the whole pack alive.
    return [
        SuffixEntry(
            x[part].clone(),
            packed.positions[:, part].clone(),
            tuple(
                None if level < meeting_layer else item[part].clone()
                for level, item in enumerate(packed.injections)
            ),
        )
        for part in rows
    ]
