"""Late interaction: queries and documents encoded apart, scored by MaxSim over their vectors."""

from .adapter import Adapter
from .colmodernvbert import ColModernVBert
from .encoded import EncodedDocuments
from .group import GROUPS
from .meta_tokens import MetaTokens
from .metaembed import MetaEmbed
from .opening import KINDS, open_encoder
from .pooled import Pooled
from .protocol import LateInteraction
from .smart import Smart

__all__ = [
    "GROUPS",
    "KINDS",
    "Adapter",
    "ColModernVBert",
    "EncodedDocuments",
    "LateInteraction",
    "MetaEmbed",
    "MetaTokens",
    "Pooled",
    "Smart",
    "open_encoder",
]
