"""What a profile holds, and which values a given model allows.

A profile is three frozen records: the reductions (exit layer, interaction band, keep ratio), the
prompt template of the checkpoint, and the limits of what may be read. Values come from the
miniReranker paper (arXiv 2606.10759v2, sections 3 and 4) and from the published Qwen3-VL-Reranker
code (arXiv 2601.04720); the defaults below are the dense model with the vision-first template.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minireranker.errors import ConfigurationError, ProfileError

SYSTEM_SENTENCE = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".'
)
DEFAULT_INSTRUCTION = "Given a search query, retrieve relevant candidates that answer the query."


@dataclass(frozen=True)
class Template:
    """How a (query, document) pair is written; a property of the checkpoint.

    The text of a pair is: system turn, user turn opening, ``instruct_label`` + instruction +
    ``header_end`` | label + content + ``first_end`` | label + content, then the answer cue.
    """

    order: str = "vision-first"
    """``"vision-first"``: the side that is reused goes first (method, section 1).
    ``"query-first"``: the query always does, as published."""
    system: str = SYSTEM_SENTENCE
    instruct_label: str = "<Instruct>: "
    header_end: str = "\n"
    query_label: str = "<Query>: "
    document_label: str = "<Document>: "
    first_end: str = "\n"
    """Closes the first segment. Ends in a newline, so that tokens never straddle the segments."""
    empty: str = "NULL"
    """Stands for a side without content."""
    instruction: str = DEFAULT_INSTRUCTION
    """Used when a call brings none."""

    def validate(self) -> None:
        """Raise ProfileError where two segments could not be told apart."""
        _check_types(self, "template.")
        if self.order not in ("vision-first", "query-first"):
            raise ProfileError("template.order", self.order, '"vision-first" or "query-first"')
        if not self.first_end.endswith("\n"):
            raise ProfileError("template.first_end", self.first_end, "text that ends in a newline")
        for name in ("query_label", "document_label", "empty"):
            if not getattr(self, name).strip():
                raise ProfileError(f"template.{name}", getattr(self, name), "text, not only blanks")
            # Blanks would join the newline before them, and so the other segment's last token.
            if getattr(self, name)[0].isspace():
                raise ProfileError(f"template.{name}", getattr(self, name), "no blank in front")


@dataclass(frozen=True)
class Limits:
    """What may be read and how large a pair may get. Pixels are width x height."""

    min_pixels: int = 4_096
    """An image is enlarged to at least this (4 visual tokens of 32 x 32)."""
    max_pixels: int = 1_843_200
    """An image is reduced to at most this (1800 visual tokens), unless it is so narrow that its
    longer side at a width of 32 is over it."""
    max_aspect_ratio: float = 200.0
    min_side: int = 4
    """Images with a shorter side, in source pixels, are refused: tracking pixels, rulers."""
    max_source_pixels: int = 178_956_970
    """Checked before decoding (Pillow's own bomb limit)."""
    max_image_bytes: int = 64 * 2**20
    video_fps: float = 1.0
    """Frames sampled a second from a video file."""
    frame_list_fps: float = 2.0
    """Assumed rate of frames given as a list: sets their timestamps."""
    video_min_frames: int = 4
    video_max_frames: int = 64
    frame_min_pixels: int = 131_072
    frame_max_pixels: int = 786_432
    video_total_pixels: int = 7_864_320
    """All frames together, two frames counted as one (temporal patches of two)."""
    max_video_bytes: int = 2 * 2**30
    max_video_seconds: float = 4 * 3600.0
    max_tokens: int = 10_240
    """Tokens of a pair: header, first and second segment."""
    max_suffix_tokens: int = 2_048
    """Of those, kept free for the second segment; its text is cut to it."""

    def validate(self) -> None:
        """Raise ProfileError for values that no input could satisfy."""
        _check_types(self, "limits.")
        for spec in dataclasses.fields(self):
            value = getattr(self, spec.name)
            if not 0 < value < math.inf:
                raise ProfileError(f"limits.{spec.name}", value, "a finite number above 0")
        for low, high in (
            ("min_pixels", "max_pixels"),
            ("frame_min_pixels", "frame_max_pixels"),
            ("video_min_frames", "video_max_frames"),
            ("max_suffix_tokens", "max_tokens"),
        ):
            if getattr(self, low) > getattr(self, high):
                allowed = f"at most limits.{high} = {getattr(self, high)}"
                raise ProfileError(f"limits.{low}", getattr(self, low), allowed)
        for name in ("max_pixels", "frame_max_pixels"):
            if getattr(self, name) < 1_024:
                raise ProfileError(f"limits.{name}", getattr(self, name), "1024 (a token) or more")


@dataclass(frozen=True)
class Profile:
    """A reduced (or dense) form of a model: which layers run, where the sides meet, what is kept.

    ``exit_layer=None`` and ``band=None`` mean every layer of whatever model it is applied to;
    ``for_model`` fills them in. Raises ProfileError for impossible values.
    """

    name: str = "custom"
    exit_layer: int | None = None
    """E: decoder layers 0..E-1 run (method, section 3)."""
    band: tuple[int, int] | None = None
    """[lo, hi): the layers in which the second segment may attend to the first."""
    keep_ratio: float = 1.0
    """Share of each image's or video's visual tokens kept, by importance."""
    layers: int | None = None
    """Decoder layers of the model the numbers were chosen for; None: any."""
    hidden_size: int | None = None
    """Hidden size of that model; None: any."""
    template: Template = field(default_factory=Template)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        """Check everything that does not need a model."""
        _check_types(self, "")
        if not 0.0 < self.keep_ratio <= 1.0:
            raise ProfileError("keep_ratio", self.keep_ratio, "above 0 and at most 1")
        self.template.validate()
        self.limits.validate()

    def for_model(self, layers: int, hidden_size: int) -> Profile:
        """This profile with exit and band as numbers, checked against a model's decoder.

        Raises ProfileError naming the field, its value and the allowed range.
        """
        for name, actual in (("layers", layers), ("hidden_size", hidden_size)):
            wanted = getattr(self, name)
            if wanted is not None and wanted != actual:
                raise ProfileError(name, wanted, f"{actual}, what this model has")
        exit_layer = layers if self.exit_layer is None else self.exit_layer
        if not 1 <= exit_layer <= layers:
            raise ProfileError("exit_layer", exit_layer, f"1 to {layers}, the model's layers")
        low, high = (0, exit_layer) if self.band is None else self.band
        if not 0 <= low <= high <= exit_layer:
            allowed = f"[lo, hi] with 0 <= lo <= hi <= exit_layer = {exit_layer}"
            raise ProfileError("band", [low, high], allowed)
        return dataclasses.replace(self, exit_layer=exit_layer, band=(low, high))

    def digest(self) -> str:
        """SHA-256 over every field but the name: part of a cache entry's identity."""
        fields = dataclasses.asdict(self)
        del fields["name"]
        fields = json.loads(json.dumps(fields), parse_int=float)  # 1 and 1.0 are one value
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    @classmethod
    def from_toml(cls, path: Path | str) -> Profile:
        """Read a profile file. Raises ConfigurationError naming the file and what is wrong."""
        try:
            data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"profile file {path}: {error}") from error
        try:
            return cls._from_dict({"name": Path(path).stem, **data})
        except ProfileError as error:
            error.args = (f"{path}: {error}",)
            raise

    @classmethod
    def _from_dict(cls, data: dict[str, Any]) -> Profile:
        values = dict(data)
        _check_keys(cls, values, "")
        for name, section in (("template", Template), ("limits", Limits)):
            if isinstance(values.get(name), dict):
                _check_keys(section, values[name], f"{name}.")
                values[name] = section(**values[name])
        if isinstance(values.get("band"), list):
            values["band"] = tuple(values["band"])
        return cls(**values)


def _check_keys(kind: type[Any], values: dict[str, Any], prefix: str) -> None:
    known = {spec.name for spec in dataclasses.fields(kind)}
    for key, value in values.items():
        if key not in known:
            raise ProfileError(prefix + key, value, "one of " + ", ".join(sorted(known)))


def _check_types(record: Profile | Template | Limits, prefix: str) -> None:
    for spec in dataclasses.fields(record):
        value = getattr(record, spec.name)
        if not _fits(value, str(spec.type)):
            raise ProfileError(prefix + spec.name, value, f"a value of type {spec.type}")


def _fits(value: object, annotation: str) -> bool:
    """Whether a value is of an annotated type. A bool is no int here: ``exit_layer = true``."""
    if value is None:
        return annotation.endswith("None")
    if annotation.startswith("tuple"):
        return isinstance(value, tuple) and [type(item) for item in value] == [int, int]
    if annotation.startswith("int"):
        return type(value) is int
    if annotation == "float":
        return isinstance(value, float) or type(value) is int
    return annotation in {kind.__name__ for kind in type(value).__mro__}
