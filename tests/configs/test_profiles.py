"""Profiles: the packaged ones fit their models, and a wrong field is named before anything runs."""

import dataclasses
import math
import re
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from minireranker.configs import Limits, Profile, Template, available_profiles, resolve_profile
from minireranker.errors import ConfigurationError, ProfileError, UnknownProfileError

MODELS = {"2b": (28, 2048), "4b": (36, 2560), "8b": (36, 4096)}
"""Decoder layers and hidden size, from the published config.json of each size."""
PACKAGED = sorted(
    path.name.removesuffix(".toml")
    for path in resources.files("minireranker.configs").iterdir()
    if path.name.endswith(".toml")
)


def fits(name):
    """Models a packaged profile is for."""
    size = name.rpartition("-")[2]
    return {size: MODELS[size]} if size in MODELS else MODELS


def written(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_package_has_the_profiles():
    assert sorted(available_profiles()) == PACKAGED
    assert {"dense", "dense-query-first", "mini-2b", "mini-4b", "mini-8b"} <= set(PACKAGED)


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_profile_fits_the_model_it_names(name):
    for layers, hidden_size in fits(name).values():
        profile = resolve_profile(name, layers=layers, hidden_size=hidden_size)
        low, high = profile.band
        assert 0 <= low < high <= profile.exit_layer <= layers
        assert profile.name == name


@pytest.mark.parametrize("name", [name for name in PACKAGED if len(fits(name)) == 1])
def test_and_no_other(name):
    for size in MODELS.keys() - fits(name).keys():
        with pytest.raises(ProfileError, match="what this model has"):
            resolve_profile(name, layers=MODELS[size][0], hidden_size=MODELS[size][1])


@pytest.mark.parametrize(
    ("size", "exit_layer", "band"), [("2b", 16, (8, 16)), ("4b", 21, (8, 21)), ("8b", 21, (8, 21))]
)
def test_mini_is_the_papers_numbers_for_the_models_size(size, exit_layer, band):
    """arXiv 2606.10759v2; the table in the method's section 3."""
    layers, hidden_size = MODELS[size]
    profile = resolve_profile("mini", layers=layers, hidden_size=hidden_size)
    assert profile.name == f"mini-{size}"
    assert (profile.exit_layer, profile.band, profile.keep_ratio) == (exit_layer, band, 0.5)


@pytest.mark.parametrize("name", ["dense", "dense-query-first"])
def test_dense_is_every_layer_and_every_token(name):
    profile = resolve_profile(name, layers=36, hidden_size=2560)
    assert (profile.exit_layer, profile.band, profile.keep_ratio) == (36, (0, 36), 1.0)


def test_query_first_has_the_published_spacing():
    template = available_profiles()["dense-query-first"].template
    labels = template.header_end + template.query_label, template.document_label
    assert (template.order, *labels) == ("query-first", "<Query>:", "<Document>:")
    assert available_profiles()["dense"].template == Template()


def test_the_default_limits_are_the_papers():
    limits, token = Limits(), 32 * 32
    assert (limits.min_pixels, limits.max_pixels) == (4 * token, 1800 * token)
    assert (limits.video_fps, limits.video_max_frames) == (1.0, 64)
    assert (limits.video_total_pixels, limits.max_tokens) == (7_864_320, 10_240)


def test_an_unknown_name_lists_the_profiles_that_fit():
    with pytest.raises(UnknownProfileError) as caught:
        resolve_profile("tiny", layers=28, hidden_size=2048)
    message = str(caught.value)
    assert "'tiny'" in message
    assert "28 layers" in message
    listed = re.search(r"use one of (.*), a path", message)[1].split(", ")
    assert listed == ["dense", "dense-query-first", "mini-2b"]


def test_mini_without_a_fitting_size_is_unknown():
    with pytest.raises(UnknownProfileError, match="use one of dense, dense-query-first, a path"):
        resolve_profile("mini", layers=4, hidden_size=64)


def test_a_profile_and_a_path_resolve_to_themselves(tmp_path):
    path = written(tmp_path, "exit_layer = 3\nband = [1, 2]\nkeep_ratio = 1")
    made = Profile(name="mine", exit_layer=3, band=(1, 2))
    for spec in (path, str(path), made):
        assert resolve_profile(spec, layers=4, hidden_size=64) == made


# What a TOML file may not say: the line, the field named, the value named, the range named.
WRONG_FIELDS = {
    "keep nothing": ("keep_ratio = 0", "keep_ratio", 0, "above 0 and at most 1"),
    "keep too much": ("keep_ratio = 1.1", "keep_ratio", 1.1, "above 0 and at most 1"),
    "keep nan": ("keep_ratio = nan", "keep_ratio", math.nan, "above 0 and at most 1"),
    "keep text": ('keep_ratio = "half"', "keep_ratio", "half", "type float"),
    "keep bool": ("keep_ratio = true", "keep_ratio", True, "type float"),
    "unknown key": ("exit_layers = 3", "exit_layers", 3, "exit_layer, hidden_size"),
    "exit float": ("exit_layer = 3.0", "exit_layer", 3.0, "type int"),
    "exit bool": ("exit_layer = true", "exit_layer", True, "type int"),
    "layers text": ('layers = "28"', "layers", "28", "type int"),
    "name": ("name = 2", "name", 2, "type str"),
    "band number": ("band = 3", "band", 3, "type tuple[int, int]"),
    "band of one": ("band = [3]", "band", (3,), "type tuple[int, int]"),
    "band of floats": ("band = [0.0, 3.0]", "band", (0.0, 3.0), "type tuple[int, int]"),
    "band bool": ("band = [true, 3]", "band", (True, 3), "type tuple[int, int]"),
    "section": ("template = 3", "template", 3, "type Template"),
    "unknown label": ("template.label = 'Q'", "template.label", "Q", "query_label"),
    "label number": ("template.query_label = 1", "template.query_label", 1, "type str"),
    "blank label": ("template.query_label = ' '", "template.query_label", " ", "not only blanks"),
    "order": ("template.order = 'random'", "template.order", "random", '"vision-first"'),
    "no newline": ("template.first_end = ' '", "template.first_end", " ", "ends in a newline"),
    "unknown limit": ("limits.pixels = 3", "limits.pixels", 3, "max_pixels"),
    "limit bool": ("limits.min_side = true", "limits.min_side", True, "type int"),
    "limit zero": ("limits.max_tokens = 0", "limits.max_tokens", 0, "above 0"),
    "limit negative": ("limits.video_fps = -1", "limits.video_fps", -1, "above 0"),
    "limit nan": ("limits.video_fps = nan", "limits.video_fps", math.nan, "finite"),
    "limit inf": ("limits.video_fps = inf", "limits.video_fps", math.inf, "finite"),
}


@pytest.mark.parametrize(
    ("line", "field", "value", "allowed"), WRONG_FIELDS.values(), ids=WRONG_FIELDS
)
def test_a_wrong_field_is_named_with_value_and_range(tmp_path, line, field, value, allowed):
    path = written(tmp_path, line)
    with pytest.raises(ProfileError) as caught:
        Profile.from_toml(path)
    assert caught.value.field == field
    assert repr(caught.value.value) == repr(value)
    assert allowed in caught.value.allowed
    assert str(caught.value).startswith(f"{path}: ")
    for part in (field, repr(value), allowed):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("min_pixels", "max_pixels"),
        ("frame_min_pixels", "frame_max_pixels"),
        ("video_min_frames", "video_max_frames"),
        ("max_suffix_tokens", "max_tokens"),
    ],
)
def test_a_lower_limit_above_its_upper_one_is_refused(low, high):
    upper = getattr(Limits(), high)
    Profile(limits=Limits(**{low: upper}))
    with pytest.raises(ProfileError, match=rf"limits.{low} = {upper + 1}.*limits.{high} = {upper}"):
        Profile(limits=Limits(**{low: upper + 1}))


@pytest.mark.parametrize(
    ("fields", "field", "value", "allowed"),
    [
        ({"exit_layer": 0}, "exit_layer", 0, "1 to 28"),
        ({"exit_layer": 29}, "exit_layer", 29, "1 to 28"),
        ({"exit_layer": -1}, "exit_layer", -1, "1 to 28"),
        ({"exit_layer": 16, "band": (16, 8)}, "band", [16, 8], "exit_layer = 16"),
        ({"exit_layer": 16, "band": (8, 17)}, "band", [8, 17], "exit_layer = 16"),
        ({"exit_layer": 16, "band": (-1, 8)}, "band", [-1, 8], "0 <= lo <= hi"),
        ({"band": (8, 29)}, "band", [8, 29], "exit_layer = 28"),
        ({"layers": 36}, "layers", 36, "28, what this model has"),
        ({"hidden_size": 4096}, "hidden_size", 4096, "2048, what this model has"),
    ],
)
def test_what_only_the_model_can_refuse(fields, field, value, allowed):
    with pytest.raises(ProfileError) as caught:
        resolve_profile(Profile(**fields), layers=28, hidden_size=2048)
    assert (caught.value.field, caught.value.value) == (field, value)
    assert allowed in caught.value.allowed


@pytest.mark.parametrize(
    "fields",
    [
        {"exit_layer": 1, "band": (0, 0)},
        {"exit_layer": 28, "band": (28, 28)},
        {"keep_ratio": 1e-9},
        {"keep_ratio": 1},
        {"keep_ratio": np.float64(0.5)},
        {"layers": 28, "hidden_size": 2048},
    ],
)
def test_the_ends_of_every_range_are_allowed(fields):
    resolved = resolve_profile(Profile(**fields), layers=28, hidden_size=2048)
    assert {name: getattr(resolved, name) for name in fields} == fields


@pytest.mark.parametrize(
    "fields",
    [
        {"exit_layer": True},
        {"exit_layer": 16.0},
        {"band": (1, 2, 3)},
        {"band": (1.0, 2.0)},
        {"keep_ratio": "0.5"},
        {"keep_ratio": None},
        {"template": "query-first"},
        {"limits": None},
        {"limits": Limits(max_tokens=math.nan)},
        {"template": Template(empty=None)},
    ],
)
def test_the_constructor_checks_what_a_file_would(fields):
    with pytest.raises(ProfileError, match=f"profile field {next(iter(fields))}"):
        Profile(**fields)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"exit_layer = ", "Invalid value"),
        (b"exit_layer = 1\nexit_layer = 2", "overwrite"),
        (b"\xff\xfe", "utf-8"),
        (None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, reason):
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=reason) as caught:
        resolve_profile(path, layers=28, hidden_size=2048)
    assert str(path) in str(caught.value)


def test_a_checkpoints_profile_wins_over_the_packages(tmp_path):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mini-2b.toml").write_text("exit_layer = 5", encoding="utf-8")
    (tmp_path / "profiles" / "own.toml").write_text("exit_layer = 6", encoding="utf-8")

    def exit_of(spec, checkpoint):
        found = resolve_profile(spec, layers=28, hidden_size=2048, checkpoint=checkpoint)
        return found.exit_layer

    assert [exit_of("mini-2b", where) for where in (None, tmp_path)] == [16, 5]
    assert [exit_of(spec, tmp_path) for spec in ("mini", "own", "dense")] == [5, 6, 28]


def test_a_checkpoint_without_profiles_has_the_packages(tmp_path):
    assert available_profiles(tmp_path) == available_profiles()
    assert available_profiles(Path("nowhere")) == available_profiles()


# One other valid value for every field; a new field without one fails the test below.
OTHER = {
    **{"exit_layer": 3, "band": (0, 2), "keep_ratio": 0.5, "layers": 4, "hidden_size": 64},
    **{"order": "query-first", "first_end": ".\n"},
}


def variants(kind, **skipped):
    """(field, a record of that kind which differs from the default in this field only)."""
    for spec in dataclasses.fields(kind):
        default = getattr(kind(), spec.name)
        if spec.name in OTHER:
            yield spec.name, kind(**{spec.name: OTHER[spec.name]})
        elif isinstance(default, str):
            yield spec.name, kind(**{spec.name: default + "!"})
        elif isinstance(default, int | float):
            yield spec.name, kind(**{spec.name: default + 1})
        else:
            assert isinstance(default, Template | Limits), spec.name
            for inner, record in variants(type(default)):
                yield f"{spec.name}.{inner}", kind(**{spec.name: record})


def test_the_digest_changes_with_every_field_but_the_name():
    changed = dict(variants(Profile))
    assert changed.pop("name").digest() == Profile().digest()
    digests = {name: profile.digest() for name, profile in changed.items()}
    assert len(digests) == sum(
        len(dataclasses.fields(kind)) for kind in (Profile, Template, Limits)
    ) - len(("name", "template", "limits"))
    assert len({Profile().digest(), *digests.values()}) == len(digests) + 1


def test_equal_profiles_have_equal_digests(tmp_path):
    whole = Profile.from_toml(written(tmp_path, "keep_ratio = 1\nband = [0, 2]"))
    assert whole == Profile(name="mine", keep_ratio=1.0, band=(0, 2))
    assert whole.digest() == Profile(keep_ratio=1.0, band=(0, 2)).digest()
    assert re.fullmatch("[0-9a-f]{64}", whole.digest())


@pytest.mark.parametrize("name", ["max_pixels", "frame_max_pixels"])
def test_less_than_a_token_of_pixels_is_refused(name):
    low = {"max_pixels": "min_pixels", "frame_max_pixels": "frame_min_pixels"}[name]
    with pytest.raises(ProfileError, match=f"limits.{name} = 1023"):
        Limits(**{low: 100, name: 1023}).validate()


@pytest.mark.parametrize("name", ["query_label", "document_label"])
def test_a_label_may_not_begin_with_a_blank(name):
    with pytest.raises(ProfileError, match="no blank in front"):
        Profile(template=Template(**{name: "\n<X>: "}))
