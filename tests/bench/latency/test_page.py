"""The page and the rows of a result: everything is in them, and a page loads nothing."""

from __future__ import annotations

import copy
import csv
import io
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from minireranker.bench.latency.csv_rows import csv_text
from minireranker.bench.latency.figures import FIGURES, draw_figures
from minireranker.bench.latency.page import page
from minireranker.bench.latency.wording import pays_from, seconds, times, verdict


class Reader(HTMLParser):
    """Tags as they open and close, what they refer to, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_has_the_figures_and_the_result_and_loads_nothing(result: dict[str, Any]) -> None:
    text = page(result)
    reader = Reader(text)
    assert reader.open == []
    assert reader.seen.count("svg") == len(FIGURES)
    assert "script" not in reader.seen
    assert all(reference.startswith("#") for reference in reader.references)
    for said in ("transformers: prefix", "one after the other", "nearest rank", *FIGURES):
        assert said in reader.text
    assert "prefers-color-scheme: dark" in text
    after = reader.text.split("JSON", 1)[1]
    assert json.loads(after[: after.rindex("}") + 1]) == result


def test_the_figures_take_the_ink_of_the_page(result: dict[str, Any]) -> None:
    found = draw_figures(result)
    assert list(found) == list(FIGURES)
    for svg in found.values():
        assert svg.startswith("<svg")
        assert "currentColor" in svg
        assert "#000000" not in svg.replace("fill: #000000; stroke: #000000", "")
    assert "transformers: pairs" in found["Time of a pair, beside peers"]
    assert draw_figures(result) == found, "the same result draws the same"


def test_names_are_text_and_not_markup(result: dict[str, Any]) -> None:
    changed = copy.deepcopy(result)
    changed["machine"]["command"] = "<script>alert(1)</script>"
    changed["peers"][0]["name"] = "<b>peer</b>"
    changed["workload"]["about"] = "a & b <i>"
    reader = Reader(page(changed))
    assert {"script", "b", "i"}.isdisjoint(reader.seen)
    assert "<b>peer</b>" in reader.text


def test_without_matplotlib_there_is_a_sentence(result: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(result))
    code = (
        "import json, sys; sys.modules['matplotlib'] = None\n"
        "from minireranker.bench.latency.page import page\n"
        "print(page(json.load(open(sys.argv[1]))))"
    )
    line = [sys.executable, "-P", "-c", code, str(tmp_path / "result.json")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "No figures: drawing the chart needs matplotlib" in done.stdout
    assert "<svg" not in done.stdout


def test_a_result_without_timing_has_a_page(result: dict[str, Any]) -> None:
    bare = result | {
        "targets": [],
        "peers": [],
        "turns": None,
        "ceilings": None,
        "gate": result["gate"] | {"passed": False},
    }
    text = Reader(page(bare)).text
    assert "No timing" in text
    assert "No figures: nothing was timed" in text


def test_rows_are_runs_and_peers(result: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(result))))
    assert [row["what"] for row in rows] == ["run"] * 4 + ["peer"] * 2
    run, peer = rows[1], rows[5]
    assert float(run["p99"]) == result["targets"][0]["runs"][1]["p99"]
    assert run["joules"] == "" or float(run["joules"]) > 0
    assert float(peer["ratio_low"]) == result["peers"][1]["ratio"]["low"]
    assert (peer["name"], peer["agrees"], peer["workload"]) == (
        "transformers: prefix",
        "True",
        "small",
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1.234, "1.23 s"),
        (0.9996, "1 s"),
        (0.0456, "45.6 ms"),
        (0.000789, "789 us"),
        (1234.5, "1234 s"),
        (0.0, "0 us"),
    ],
)
def test_seconds_have_three_digits(value: float, said: str) -> None:
    assert seconds(value) == said


def test_ratios_and_verdicts_are_said() -> None:
    assert times({"median": 12.34, "low": 11.9, "high": 12.8}) == "12.3 x (11.9 to 12.8)"
    assert times(None) == ""
    assert verdict({"difference": 0.012, "agrees": True}) == "agree (1.2e-02)"
    assert verdict({"difference": 3.4, "agrees": False}) == "disagrees by 3.4"
    assert verdict({"difference": None, "agrees": False}) == "no numbers"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({}, ""),
        ({"break_even_queries": None}, "never"),
        ({"break_even_queries": 1}, "1 query"),
        ({"break_even_queries": 1200}, "1,200 queries"),
    ],
)
def test_when_it_pays_is_said(row: dict[str, int | None], said: str) -> None:
    assert pays_from(row) == said
