"""The page in a headless Chromium: it draws, ranks, reorders, shades, and says what it took."""

import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


@pytest.fixture(scope="module")
def shown(running, tmp_path_factory):
    """The page's document after it has ranked its own drawings, as HTML."""
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--no-first-run", "--disable-background-networking", "--no-proxy-server"),
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
        *(
            "--virtual-time-budget=30000",
            "--dump-dom",
            f"{running.url}/#demo=a%20large%20red%20star%20above%20a%20blue%20circle",
        ),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2_000:]
    return done.stdout


def cards(shown):
    return re.findall(r'<li class="card.*?</li>', shown, re.DOTALL)


def test_every_drawing_is_ranked_best_first(shown):
    assert re.search(r'<p id="status" role="status"[^>]*>ranked 8 of 8</p>', shown)
    ranks = [re.search(r"<dt>(\d+)\. [\d.]+ %</dt>", card)[1] for card in cards(shown)]
    assert ranks == [str(rank) for rank in range(1, 9)]
    scores = [float(re.search(r'<dd title="raw.*?">(-?[\d.]+)<', card)[1]) for card in cards(shown)]
    assert scores == sorted(scores, reverse=True)


def test_visual_tokens_are_laid_over_each_picture(shown):
    # A drawing is 128 pixels wide and high: four tokens of 32.
    canvas = '<canvas width="4" height="4" aria-hidden="true"></canvas>'
    assert [card.count(canvas) for card in cards(shown)] == [1] * 8


def test_times_and_tokens_are_shown(shown):
    stages = re.findall(r"<tr><td>(\w+)</td><td>([\d.]+) ms</td>", shown)
    assert [name for name, _ in stages] == ["queue", "inputs", "prefix", "suffix", "total"]
    assert float(stages[-1][1]) > 0
    assert re.search(r"<dt>tokens computed</dt><dd>[\d,]+</dd>", shown)


def test_the_model_is_named(shown, reranker):
    assert f'id="model">{reranker.checkpoint.name}, profile mini, cpu' in shown


def test_every_field_has_a_label_and_every_picture_words(shown):
    names = re.findall(r"<input id=\"([\w-]+)\"", shown)
    labelled = [
        name
        for name in names
        if f'for="{name}"' in shown or re.search(rf'<label[^>]*>[^<]*<input id="{name}"', shown)
    ]
    assert labelled == names
    assert re.findall(r"<img(?![^>]*\balt=\"[^\"]+\")", shown) == []
    assert len(re.findall(r'aria-label="remove [^"]+"', shown)) == 8
