"""The page in a headless Chromium: it takes what is dropped, ranks, reorders, shades, and says what
it took."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

RANKED = "document.getElementById('status').textContent.startsWith('ranked')"
STATUS = "document.getElementById('status').textContent"
ORDER = "[...document.querySelectorAll('#results .name')].map(each => each.textContent)"
SCORES = "[...document.querySelectorAll('#results dd[title]')].map(each => each.textContent)"
SHADES = "[...document.querySelectorAll('#results canvas')].map(each => [each.width, each.height])"
FIGURES = (
    "Object.fromEntries([...document.querySelectorAll('#work div')]"
    ".map(each => [...each.children].map(one => one.textContent)))"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, running: Any) -> Browser:
    """The page, fresh."""
    browser.complaints.clear()
    browser.open("about:blank")
    browser.open(running.url)
    browser.until("!document.getElementById('model').textContent.startsWith('asking')")
    return browser


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, encoded: Callable[..., bytes]) -> list[Path]:
    """Three pictures of 4 x 4, 2 x 4 and 4 x 3 visual tokens."""
    folder = tmp_path_factory.mktemp("pictures")
    sizes = {"square.png": (128, 128), "wide.png": (64, 128), "tall.png": (128, 96)}
    for seed, (name, (height, width)) in enumerate(sizes.items()):
        (folder / name).write_bytes(encoded(height, width, seed))
    return [folder / name for name in sizes]


def rank(page: Browser, query: str) -> None:
    page.value("document.getElementById('query').value = ''")
    page.value("document.getElementById('status').textContent = ''")
    page.write("#query", query, key="Enter")
    page.until(RANKED)


def test_dropped_pictures_are_ranked_as_the_library_ranks_them(
    page: Browser, files: list[Path], reranker: Any
) -> None:
    page.drop("#drop", files)
    page.until("document.querySelectorAll('#results li').length === 3")
    assert page.value("document.getElementById('count').textContent") == "3"
    added = page.value(ORDER)
    for query in ("some noise", "another thing"):
        rank(page, query)
        hits = reranker.rank(query, [next(f for f in files if f.name == name) for name in added])
        assert page.value(ORDER) == [added[hit.index] for hit in hits]
        assert page.value(SCORES) == [f"{hit.score:.3f}" for hit in hits]
    assert page.complaints == []


def test_the_second_time_they_come_from_the_cache(page: Browser, files: list[Path]) -> None:
    page.drop("#drop", files)
    page.until("document.querySelectorAll('#results li').length === 3")
    rank(page, "one")
    rank(page, "two")
    figures = page.value(FIGURES)
    assert int(figures["tokens from the cache"]) > 0
    assert (figures["ranked"], figures["failed"]) == ("3", "0")
    assert re.fullmatch(r"[\d.]+ ms", figures["round trip"])
    stages = page.value(
        "[...document.querySelectorAll('#stages tr')].map(row => row.cells[0].firstChild.data)"
    )
    assert stages == ["queue", "inputs", "prefix", "suffix", "total"]


def test_visual_tokens_are_laid_over_each_picture_and_taken_off(
    page: Browser, files: list[Path]
) -> None:
    page.drop("#drop", files)
    page.until("document.querySelectorAll('#results li').length === 3")
    rank(page, "one")
    grids = {"square.png": [4, 4], "wide.png": [4, 2], "tall.png": [3, 4]}
    assert page.value(SHADES) == [grids[name] for name in page.value(ORDER)]
    page.click("#shade")
    assert page.value(SHADES) == []
    page.click("#shade")
    assert len(page.value(SHADES)) == 3


def test_a_document_that_fails_says_why_and_stands_last(
    page: Browser, files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    page.drop("#drop", [tmp_path / "torn.png", files[0]])
    page.until("document.querySelectorAll('#results li').length === 2")
    page.write("#text", "<b>a text</b>", key="Enter")
    rank(page, "one")
    assert page.value(STATUS) == "ranked 2 of 3"
    assert page.value(ORDER)[-1] == "torn.png"
    assert "damaged" in page.value("document.querySelector('#results .bad').textContent")
    assert page.value("document.querySelector('#results blockquote').innerHTML") == (
        "&lt;b&gt;a text&lt;/b&gt;"
    )
    page.click("#results li:last-child .remove")
    assert page.value("document.querySelectorAll('#results li').length") == 2


def test_a_guarded_server_is_given_its_token(browser: Browser, serve: Any) -> None:
    server = serve(token="a-token-of-some-length")
    browser.open(server.url)
    browser.until("!document.getElementById('token-row').hidden")
    browser.write("#token", "a-token-of-some-length", key="Enter")
    browser.until("document.getElementById('token-row').hidden")
    browser.write("#text", "a text", key="Enter")
    rank(browser, "one")


def test_it_draws_pictures_of_its_own(page: Browser, running: Any, reranker: Any) -> None:
    words = "a large red star above a blue circle"
    page.open("about:blank")
    page.open(f"{running.url}/#demo={words.replace(' ', '%20')}")
    page.until(RANKED)
    assert page.value(STATUS) == "ranked 8 of 8"
    assert page.value("document.getElementById('query').value") == words
    assert page.value(SHADES) == [[4, 4]] * 8
    named = page.value("document.getElementById('model').textContent")
    assert named.startswith(f"{reranker.checkpoint.name}, profile mini, cpu")
    page.click("#clear")
    assert page.value("document.querySelectorAll('#results li').length") == 0


def test_every_field_has_a_label_and_every_picture_words(page: Browser) -> None:
    page.click("#drawn")
    assert page.value("[...document.querySelectorAll('input')].every(one => one.labels.length)")
    assert page.value("[...document.querySelectorAll('#results img')].every(one => one.alt)")
    labels = "[...document.querySelectorAll('.remove')].map(one => one.getAttribute('aria-label'))"
    assert all(label.startswith("remove ") for label in page.value(labels))


@pytest.mark.parametrize("width", [360, 1_400])
def test_nothing_stands_out_of_the_window(page: Browser, files: list[Path], width: int) -> None:
    page.drop("#drop", files)
    page.until("document.querySelectorAll('#results li').length === 3")
    rank(page, "one")
    page.send(
        "Emulation.setDeviceMetricsOverride",
        width=width, height=900, deviceScaleFactor=1, mobile=False,
    )  # fmt: skip
    try:
        # A card is on its way to its place for a moment.
        page.until(f"document.documentElement.scrollWidth <= {width}", 10.0)
    finally:
        page.send("Emulation.clearDeviceMetricsOverride")
