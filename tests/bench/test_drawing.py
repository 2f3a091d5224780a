"""The drawn corpus: the same every time, readable, of all three kinds."""

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image, ImageStat

from minireranker.bench.drawing import draw_corpus
from minireranker.errors import ConfigurationError


def test_the_same_seed_draws_the_same_bytes(tmp_path: Path) -> None:
    one, two = (draw_corpus(tmp_path / name, 12, seed=5) for name in ("one", "two"))
    assert [d.path.name for d in one] == [d.path.name for d in two]
    assert [d.path.read_bytes() for d in one] == [d.path.read_bytes() for d in two]


def test_another_seed_draws_something_else(tmp_path: Path) -> None:
    one, two = (draw_corpus(tmp_path / str(seed), 6, seed=seed) for seed in (0, 1))
    assert all(a.path.read_bytes() != b.path.read_bytes() for a, b in zip(one, two, strict=True))


def test_a_file_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    few, more = draw_corpus(tmp_path / "few", 3), draw_corpus(tmp_path / "more", 7)
    assert [d.caption for d in few] == [d.caption for d in more[:3]]
    assert few[2].path.read_bytes() == more[2].path.read_bytes()


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, Path]]:
    drawn = draw_corpus(tmp_path_factory.mktemp("corpus"))
    return [(d.kind, d.caption, d.path) for d in drawn]


def test_a_hundred_files_a_third_of_each_kind(hundred: list[tuple[str, str, Path]]) -> None:
    assert len({path for _, _, path in hundred}) == 100
    assert Counter(kind for kind, _, _ in hundred) == {"page": 34, "chart": 33, "picture": 33}


def test_every_file_is_the_image_its_name_promises(hundred: list[tuple[str, str, Path]]) -> None:
    formats, sizes = Counter(), set()
    for _, _, path in hundred:
        with Image.open(path) as image:
            image.load()
            assert image.mode == "RGB"
            formats[image.format, path.suffix] += 1
            sizes.add(image.size)
    assert set(formats) == {("PNG", ".png"), ("JPEG", ".jpg")}
    assert min(formats.values()) >= 20
    assert len(sizes) >= 8
    assert all(400 <= side <= 832 for size in sizes for side in size)


def test_nothing_drawn_is_a_blank_sheet(hundred: list[tuple[str, str, Path]]) -> None:
    for _, caption, path in hundred:
        with Image.open(path) as image:
            assert max(ImageStat.Stat(image).stddev) > 10, caption


def test_captions_are_one_line_and_tell_files_apart(hundred: list[tuple[str, str, Path]]) -> None:
    captions = [caption for _, caption, _ in hundred]
    assert all(len(caption) > 12 and "\n" not in caption for caption in captions)
    assert not any(f" a {vowel}" in caption for caption in captions for vowel in "aeio")
    assert len(set(captions)) > 60


def test_no_files_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="count = 0: a corpus has at least 1 file"):
        draw_corpus(tmp_path, 0)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match=r"cannot write the drawn files to .*file"):
        draw_corpus(tmp_path / "file", 1)
