"""Other rerankers on the same pairs, each a subprocess in a virtual environment of its own.

A peer's pins never touch ours: ``requirements/`` holds one list each, ``install`` makes the
environments, ``programs/`` is what runs inside them and imports nothing of minireranker.
``PeerProcess`` speaks with a program: JSON lines, with media as files.

All peers see the same pixels, resized as published, and write the published prompt or the same with
the reusable side first. None cuts a text that is too long: workloads stay within 10 240 tokens.
"""

from .failure import PeerError
from .process import PeerProcess
from .scores import PeerScores
from .spec import PeerSpec, available

__all__ = ["PeerError", "PeerProcess", "PeerScores", "PeerSpec", "available"]
