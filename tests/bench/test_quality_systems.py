"""Which rows a table has, and each reduction of a profile alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from minireranker.bench.quality_systems import Wanted, reductions, systems
from minireranker.configs import Profile
from minireranker.engine import Document, Query
from minireranker.errors import ConfigurationError, UnknownProfileError
from minireranker.relevance import Dataset


def made(*, is_ranked: bool = False, image: object = None) -> Dataset:
    documents = {"d": Document(text="d", image=image, id="d")}
    return Dataset(
        "made", {"q": Query(text="q")}, documents, {"q": {}}, {"q": ["d"]}, is_ranked=is_ranked
    )


def forms(profile: Profile, layers: int) -> dict[str, tuple[object, object, float]]:
    fitted = profile.for_model(layers, 64)
    return {
        found.name.partition(": ")[2]: (found.exit_layer, found.band, found.keep_ratio)
        for found in reductions(fitted, layers)
    }


def test_each_reduction_is_alone() -> None:
    profile = Profile(name="mini", exit_layer=16, band=(8, 16), keep_ratio=0.5)
    assert forms(profile, 28) == {
        "exit only": (16, (0, 16), 1.0),
        "band only": (28, (8, 28), 1.0),
        "keep only": (28, (0, 28), 0.5),
    }


def test_a_band_that_ends_before_the_exit_keeps_its_end() -> None:
    profile = Profile(exit_layer=6, band=(2, 4))
    assert forms(profile, 8) == {"exit only": (6, (0, 6), 1.0), "band only": (8, (2, 4), 1.0)}


def test_the_dense_profile_has_no_reduction() -> None:
    assert forms(Profile(), 8) == {}
    assert forms(Profile(exit_layer=5), 8) == {"exit only": (5, (0, 5), 1.0)}


def test_rows_are_in_order(tiny: Path) -> None:
    wanted = Wanted(str(tiny), ("mini", "dense"), ("mini",), embedder="anything")
    rows = systems(wanted, made(is_ranked=True))
    assert [row.name for row in rows] == [
        *("retriever", "embedder", "mini", "mini: exit only", "mini: band only", "dense")
    ], "the shared tiny checkpoint's mini keeps every visual token"
    assert rows[2].form() == {"exit": 4, "band": [2, 4], "keep": 1.0}
    assert rows[0].form() == {"exit": None, "band": None, "keep": None}


def test_without_a_retrievers_order_there_is_no_row_for_it(tiny: Path) -> None:
    assert [row.name for row in systems(Wanted(str(tiny), ("dense",)), made())] == ["dense"]


def test_a_toml_is_a_row_by_its_stem(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("exit_layer = 3\nkeep_ratio = 0.5\n", encoding="utf-8")
    wanted = Wanted(str(tiny), ("dense", str(path)), (str(path),), keep_ratio=0.75)
    rows = systems(wanted, made())
    assert [row.name for row in rows] == ["dense", "my", "my: exit only", "my: keep only"]
    assert [row.form()["keep"] for row in rows] == [1.0, 0.75, 1.0, 0.75]


def test_pruning_pictures_needs_an_embedder(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "pruned.toml"
    path.write_text("keep_ratio = 0.5\n", encoding="utf-8")
    wanted = Wanted(str(tiny), (str(path),))
    assert systems(wanted, made()), "text has nothing to prune"
    with pytest.raises(ConfigurationError, match="pruned would keep a part"):
        systems(wanted, made(image="a.png"))
    systems(Wanted(str(tiny), (str(path),), embedder="e"), made(image="a.png"))
    systems(Wanted(str(tiny), (str(path),), keep_ratio=1.0), made(image="a.png"))


@pytest.mark.parametrize(
    ("profiles", "ablated", "message"),
    [
        (("dense", "dense"), (), "two rows called dense"),
        (("dense",), ("mini",), "mini is to be taken apart but"),
    ],
)
def test_what_cannot_be_is_refused(
    tiny: Path, profiles: tuple[str, ...], ablated: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        systems(Wanted(str(tiny), profiles, ablated), made())


def test_unknown_profiles_and_nothing_at_all_are_refused(tiny: Path) -> None:
    with pytest.raises(UnknownProfileError, match="'huge'"):
        systems(Wanted(str(tiny), ("huge",)), made())
    with pytest.raises(ConfigurationError, match="nothing to measure"):
        systems(Wanted(None), made())
