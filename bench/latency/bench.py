"""``minireranker bench latency``: what is asked for, and the order in which it is measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minireranker.bench.comparison import Say
from minireranker.errors import ConfigurationError

from .contenders import choose
from .modes import Mode
from .plan import Asked
from .target import CACHES
from .targets import check_url
from .workload import LatencyWorkload

__all__ = ["LatencyBench", "run"]


@dataclass(frozen=True)
class LatencyBench:
    """What to measure. Raises ConfigurationError."""

    model: Path
    """A checkpoint directory; ``Path("builtin")`` is the built-in model."""
    load: LatencyWorkload
    profile: str = "mini"
    dtype: str = "auto"
    device: str = "auto"
    embedder: str | None = None
    """Whose attention says which visual tokens are kept; None: random importances."""
    cache: str | None = None
    """One of CACHES; None: warm-memory, and cold for a stream."""
    modes: tuple[Mode, ...] = (Mode("offline"), Mode("single"))
    peers: tuple[str, ...] = ("all",)
    """all, none, PEER or PEER:METHOD."""
    asked: Asked = field(default_factory=Asked)
    target: str | None = None
    """URL of a sidecar with the same model, profile and dtype, see ``connect``; None: in here."""
    token: str | None = field(default=None, repr=False)
    """Bearer token that the sidecar wants."""

    def __post_init__(self) -> None:
        """Compare the cache state and the peers."""
        from minireranker.bench.peers import available

        if self.cache is not None and self.cache not in CACHES:
            raise ConfigurationError(f"cache {self.cache!r}: allowed is one of {', '.join(CACHES)}")
        if not self.modes:
            raise ConfigurationError("no mode: name at least one")
        for mode in self.modes:
            mode.check(self.state, stream=self.streams)
        choose(self.peers, available())
        self._check_target()

    def _check_target(self) -> None:
        if self.target is None:
            return
        check_url(self.target)
        if self.state != "warm-memory":
            raise ConfigurationError(
                f"--target {self.target} with a cache that is {self.state}: what a sidecar keeps "
                "is its own affair; use --cache warm-memory"
            )

    @property
    def state(self) -> str:
        """Where a query finds its candidates."""
        return self.cache or ("cold" if self.load.stream else "warm-memory")

    @property
    def streams(self) -> bool:
        """Whether what a query has read stays for the next, from a cold start."""
        return self.load.stream and self.state == "cold"


def run(bench: LatencyBench, folder: Path, say: Say = lambda line: None) -> dict[str, Any]:
    """Measure; returns the result, see ``result.schema.json``. ``folder``: for media and entries.

    Interrupted, or failed once something was timed, it returns what is finished, under
    ``"finished": False``. A result whose gate was not passed has no timing. Raises
    ConfigurationError for what cannot be measured and for a model that does not fit memory, before
    it is loaded; and what ``Reranker.from_pretrained`` raises.
    """
    from .measurement import Measurement

    measurement = Measurement(bench, folder, say)
    try:
        measurement.run()
    except KeyboardInterrupt:
        measurement.stop("interrupted")
    except Exception as error:
        if not measurement.has_figures:
            raise
        measurement.stop(f"failed ({type(error).__name__}: {error})")
    finally:
        measurement.close()
    return measurement.result
