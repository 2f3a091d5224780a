"""The progress bar: after two seconds, while the first step is still at work, and gone after."""

from __future__ import annotations

import time

import pytest

from minireranker.engine.progress import Progress


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar after a twentieth of a second, on what rich takes for a terminal."""
    monkeypatch.setattr("minireranker.engine.progress.PATIENCE", 0.05)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.usefixtures("soon")
def test_it_appears_before_the_first_step_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("reading", 4, True) as bar:
        deadline = time.monotonic() + 10
        seen = ""
        while "reading" not in seen:
            assert time.monotonic() < deadline, "no bar was drawn"
            time.sleep(0.05)
            seen += capsys.readouterr().err
        bar.advance(4)
    assert "100%" in capsys.readouterr().err


@pytest.mark.usefixtures("soon")
def test_not_if_it_is_not_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("reading", 4, False) as bar:
        time.sleep(0.3)
        bar.advance()
    assert capsys.readouterr().err == ""


def test_not_for_short_work_nor_after_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("reading", 4, True) as bar:
        bar.advance(4)
    with pytest.raises(KeyError), Progress("reading", 4, True):
        raise KeyError
    assert capsys.readouterr().err == ""
