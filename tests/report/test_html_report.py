"""The report: one file, nothing from outside, everything escaped, in rank order."""

import base64
import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from minireranker.engine.content import Document, Query
from minireranker.engine.types import (
    FailedDocument,
    KeptVisual,
    RankedDocument,
    Ranking,
    Timings,
    Work,
)
from minireranker.errors import ConfigurationError, MediaError
from minireranker.report import write_report
from minireranker.report.chart import score_chart
from minireranker.report.tables import seconds
from minireranker.report.thumbnails import image_uri, video_uri

EVIL = "<script>alert('&')</script>"


class Page(HTMLParser):
    """Tags with their attributes, and whether they nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def ranking(documents: list[Document], *failed: FailedDocument) -> Ranking:
    hits = tuple(
        RankedDocument(at, doc.id, 2.0 - at, 1 / (1 + math.exp(at - 2.0)), doc)
        for at, doc in enumerate(documents)
    )
    return Ranking(hits, failed, Timings(0.25, 1.5, 0.002, 0.1), Work(1234, 5, 60, 7, 8, 90, 10))


def write(path: Path, ranked: Ranking, **others: object) -> Page:
    query = others.pop("query", Query(text="a red square"))
    write_report(path, query=query, ranking=ranked, **others)
    return Page(path.read_text(encoding="utf-8"))


def decoded(uri: str | None) -> Image.Image:
    assert uri is not None
    kind, data = uri.split(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.fixture
def red(tmp_path: Path) -> Path:
    Image.new("RGB", (900, 600), (250, 0, 0)).save(tmp_path / "red.png")
    return tmp_path / "red.png"


def test_nothing_comes_from_outside_the_file(tmp_path: Path, red: Path) -> None:
    query = Query(text="see https://example.org", image=red)
    page = write(tmp_path / "r.html", ranking([Document(image=red, id="red")]), query=query)
    assert not page.open
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert all((img["src"] or "").startswith("data:") for img in page.all("img"))
    assert not any("href" in attrs for _, attrs in page.tags)
    assert "url(" not in (tmp_path / "r.html").read_text()
    assert any("default-src 'none'" in (m.get("content") or "") for m in page.all("meta"))


def test_text_is_escaped_wherever_it_comes_from(tmp_path: Path) -> None:
    failed = FailedDocument(7, EVIL, MediaError(EVIL), None)
    page = write(
        tmp_path / "r.html",
        ranking([Document(text=EVIL, id=EVIL + '" onclick="')], failed),
        query=Query(text=EVIL),
        title=EVIL,
        subtitle=EVIL,
        warning=EVIL,
        notes=[EVIL],
        facts={EVIL: EVIL},
        runs={EVIL: ranking([])},
    )
    assert not page.open
    assert not page.all("script")
    assert not any("onclick" in attrs for _, attrs in page.tags)
    # title twice, subtitle, query, warning, note, fact twice, tooltip, excerpt, id,
    # failed twice, run
    assert sum(EVIL in words for words in page.words) == 14


def test_cards_are_in_rank_order_with_their_numbers(tmp_path: Path, red: Path) -> None:
    documents = [Document(image=red, id="x.png"), Document(text="some words", id="y")]
    page = write(tmp_path / "r.html", ranking([*documents, Document(id="ref")]))
    text = " ".join(page.words)
    order = [text.index(part) for part in ("2.0000", "1.0000", "0.0000")]
    assert order == sorted(order)
    assert "88.1 %" in text
    assert "some words" in text
    assert "no preview" in text
    widths = [tag["style"] for tag in page.all("i")]
    assert widths == ["width:88.08%", "width:73.11%", "width:50.00%"]


def test_a_picture_is_small_and_true(red: Path) -> None:
    with decoded(image_uri(red)) as small:
        assert small.size == (400, 267)
        assert small.getpixel((200, 130))[0] > 240


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "pil", "array"])
def test_every_way_to_give_an_image_has_a_picture(red: Path, kind: str) -> None:
    np = pytest.importorskip("numpy")
    with Image.open(red) as image:
        source = {
            "path": red,
            "text": str(red),
            "bytes": red.read_bytes(),
            "pil": image,
            "array": np.asarray(image),
        }[kind]
        with decoded(image_uri(source)) as small:
            assert small.width == 400
        assert image.size == (900, 600)  # the caller's object is left alone


def test_transparency_becomes_white_and_exif_turns(tmp_path: Path) -> None:
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    with decoded(image_uri(tmp_path / "clear.png")) as small:
        assert small.getpixel((5, 5)) == (255, 255, 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (40, 20)).save(tmp_path / "turned.jpg", exif=exif)
    with decoded(image_uri(tmp_path / "turned.jpg")) as small:
        assert small.size == (20, 40)


def test_what_cannot_be_read_has_no_picture(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no")
    assert image_uri(tmp_path / "x.png") is None
    assert image_uri(tmp_path / "missing.png") is None
    assert video_uri(tmp_path / "x.png") is None
    assert video_uri(b"no video") is None
    assert video_uri([]) is None


def test_a_video_shows_its_first_frame(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        for colour in ("blue", "red", "red"):
            frame = av.VideoFrame.from_image(Image.new("RGB", (128, 64), colour))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with decoded(video_uri(tmp_path / "v.mp4")) as small:
        assert small.size == (400, 200)  # enlarged as the model sees it
        red, _, blue = small.getpixel((200, 100))
        assert blue > 200
        assert red < 60
    page = write(tmp_path / "r.html", ranking([Document(video=tmp_path / "v.mp4", id="v")]))
    assert "video" in page.words


def test_failed_documents_are_named_with_their_reason(tmp_path: Path) -> None:
    failed = FailedDocument(4, "bad.jpg", MediaError("it ends too early"), None)
    page = write(tmp_path / "r.html", ranking([Document(text="a", id="a")], failed))
    assert {"bad.jpg", "it ends too early", "4", "Could not be ranked"} <= set(page.words)


def test_a_ranking_of_nothing_is_still_a_report(tmp_path: Path) -> None:
    failed = FailedDocument(0, None, MediaError("bad"), None)
    page = write(tmp_path / "r.html", ranking([], failed))
    assert not page.open
    assert not page.all("svg")
    assert "bad" in page.words


def test_stages_and_counts_have_a_column_a_run(tmp_path: Path) -> None:
    one = ranking([])
    two = Ranking((), (), Timings(pairs=0.5), Work(cache_hits=3))
    page = write(tmp_path / "r.html", one, runs={"cold": one, "warm": two})
    text = " ".join(page.words)
    for part in ("cold", "warm", "250 ms", "1.5 s", "2 ms", "1.85 s", "500 ms", "1,234", "90"):
        assert part in text, part


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot write the report to .*r\.html"):
        write_report(tmp_path / "no" / "r.html", query=Query(text="a"), ranking=ranking([]))


def test_bars_start_at_zero_and_are_as_long_as_their_scores() -> None:
    svg = score_chart([3.0, 1.5, -1.0], ["a", "b", EVIL])
    bars = ElementTree.fromstring(svg).findall("rect")
    tall = [float(bar.attrib["height"]) for bar in bars]
    assert tall[0] / tall[1] == pytest.approx(2, rel=1e-2)
    assert tall[0] / tall[2] == pytest.approx(3, rel=1e-2)
    zero = float(bars[2].attrib["y"])
    assert float(bars[0].attrib["y"]) + tall[0] == pytest.approx(zero, abs=0.02)
    assert bars[2].findtext("title") == f"3. {EVIL}: -1.0000"


@pytest.mark.parametrize("scores", [[], [0.0], [0.0, 0.0], [-1.0, -2.0], [5.0] * 700])
def test_a_chart_of_any_scores_is_well_formed(scores: list[float]) -> None:
    svg = score_chart(scores, ["n"] * len(scores))
    assert len(re.findall("<rect", svg)) == len(scores)
    if scores:
        ElementTree.fromstring(svg)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 ms"),
        (0.0000071, "0.01 ms"),
        (0.00012, "0.12 ms"),
        (0.0456, "45.6 ms"),
        (12.345, "12.3 s"),
        (1234.5, "1234 s"),
    ],
)
def test_durations_are_short(value: float, text: str) -> None:
    assert seconds(value) == text


def test_visual_tokens_that_were_dropped_are_faded(tmp_path: Path) -> None:
    red = Image.new("RGB", (120, 60), (200, 0, 0))
    kept = KeptVisual((1, 1, 2), np.array([1]))
    hit = RankedDocument(0, "half", 1.0, 0.7, Document(image=red), (kept,))
    write_report(tmp_path / "r.html", query=Query(text="q"), ranking=Ranking((hit,)))
    (image,) = Page((tmp_path / "r.html").read_text()).all("img")
    assert image["src"] is not None
    data = base64.b64decode(image["src"].partition(",")[2])
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    assert (pixels[:, :55, 1] > 150).all()
    assert (pixels[:, 65:, 1] < 30).all()
