"""From what is typed to documents: folders, patterns, files, JSONL, PDF."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from minireranker.commands.sources import find_files, read_documents
from minireranker.commands.sources_pdf import Page
from minireranker.configs import Limits
from minireranker.engine.content import Document
from minireranker.engine.media import load_image
from minireranker.errors import InputError, MediaError, MissingDependencyError, NoDocumentsError

LIMIT = 1_843_200


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), "red").save(path)
    return path


def documents(*sources: Path | str) -> list[Document]:
    return read_documents(find_files([str(source) for source in sources]), LIMIT)


def ids(*sources: Path | str) -> list[str | None]:
    return [document.id for document in documents(*sources)]


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def pdf(path: Path, pages: int = 3, size: tuple[int, int] = (300, 400)) -> Path:
    sheets = [Image.new("RGB", size, (200, 40 * n, 0)) for n in range(pages)]
    sheets[0].save(path, save_all=True, append_images=sheets[1:], resolution=72)
    return path


def failure(document: Document, kind: type[InputError] = InputError) -> str:
    """Why a document cannot be read, as the engine finds out."""
    with pytest.raises(kind) as caught:
        load_image(document.image, Limits())
    assert type(caught.value) is kind
    return str(caught.value)


def sheet(document: Document) -> Image.Image:
    return load_image(document.image, Limits())


def pdf_of(*objects: bytes, trailer: bytes = b"") -> bytes:
    """A PDF written by hand: a catalogue, then ``objects``, the first of which are the pages."""
    body, places = b"%PDF-1.4\n", []
    for number, item in enumerate((b"<</Type/Catalog/Pages 2 0 R>>", *objects), 1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, item)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(places) + 1
    end = b"<</Size %d/Root 1 0 R%s>>\nstartxref\n%d\n%%%%EOF\n" % (size, trailer, len(body))
    return body + b"xref\n0 %d\n0000000000 65535 f \n%strailer\n%s" % (size, table, end)


def locked_pdf() -> bytes:
    """Encrypted with 40 bits under keys that no password has."""
    key = b"<" + b"5a" * 32 + b">"
    lock = b"<</Filter/Standard/V 1/R 2/O %s/U %s/P -4>>" % (key, key)
    name = b"<" + b"00" * 16 + b">"
    trailer = b"/Encrypt 4 0 R/ID[%s%s]" % (name, name)
    pages = b"<</Type/Pages/Kids[3 0 R]/Count 1/MediaBox[0 0 90 90]>>"
    return pdf_of(pages, b"<</Type/Page/Parent 2 0 R>>", lock, trailer=trailer)


def test_a_folder_is_searched_to_the_bottom_in_natural_order(tmp_path: Path) -> None:
    for name in ("img10.png", "img2.png", "deep/er/a.JPG", ".hidden/x.png", ".x.png"):
        picture(tmp_path / name)
    (tmp_path / "clip.mp4").touch()
    (tmp_path / "notes.md").touch()
    assert ids(tmp_path) == ["clip.mp4", "deep/er/a.JPG", "img2.png", "img10.png"]


def test_a_video_is_a_video_and_a_picture_a_picture(tmp_path: Path) -> None:
    (tmp_path / "clip.WebM").touch()
    path = picture(tmp_path / "p.png")
    by_id = {document.id: document for document in documents(tmp_path)}
    assert by_id["clip.WebM"].video == tmp_path / "clip.WebM"
    assert by_id["clip.WebM"].image is None
    assert by_id["p.png"].image == path


def test_a_pattern_takes_what_matches_below_its_fixed_part(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/3.png", "b/4.jpg"):
        picture(tmp_path / name)
    assert ids(tmp_path / "*" / "*.png") == ["a/1.png", "a/2.png", "b/3.png"]
    assert ids(tmp_path / "**" / "*.jpg") == ["b/4.jpg"]
    assert ids(tmp_path / "?") == ["a/1.png", "a/2.png", "b/3.png", "b/4.jpg"]


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tmp_path: Path) -> None:
    assert ids(picture(tmp_path / "photo[1].png")) == ["photo[1].png"]


def test_files_of_the_same_name_keep_their_folders(tmp_path: Path) -> None:
    one, two = picture(tmp_path / "a/x.png"), picture(tmp_path / "b/x.png")
    assert ids(tmp_path / "a", tmp_path / "b") == [one.as_posix(), two.as_posix()]


def test_a_file_named_twice_is_one_document(tmp_path: Path) -> None:
    path = picture(tmp_path / "x.png")
    assert ids(path, tmp_path, tmp_path / "*.png") == ["x.png"]


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_a_name_that_is_not_utf8_still_has_a_label(tmp_path: Path) -> None:
    path = picture(tmp_path / "x.png").rename(tmp_path / os.fsdecode(b"gr\xfcn.png"))
    (document,) = documents(tmp_path)
    assert (document.id, document.image) == ("gr\N{REPLACEMENT CHARACTER}n.png", path)


def test_text_files_are_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffgr\u00fcn".encode())
    (document,) = documents(tmp_path / "a.txt")
    assert (document.text, document.image, document.id) == ("gr\u00fcn", None, "a.txt")


def test_a_text_file_in_another_encoding_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"gr\xfcn")
    (tmp_path / "b.txt").write_text("green")
    bad, good = documents(tmp_path / "a.txt", tmp_path / "b.txt")
    assert (bad.id, good.id, good.text) == ("a.txt", "b.txt", "green")
    assert "a.txt: not UTF-8" in failure(bad)


def test_a_text_file_that_cannot_be_opened_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to(tmp_path / "gone.txt")
    (document,) = documents(tmp_path / "*.txt")
    assert document.id == "a.txt"
    assert "a.txt: cannot be read: No such file" in failure(document)


def test_what_is_no_image_stays_a_document_for_the_engine_to_name(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("not a picture")
    (tmp_path / "data").write_text("neither")
    assert ids(tmp_path / "x.png", tmp_path / "data") == ["x.png", "data"]


@pytest.mark.parametrize("source", ["nowhere", "no/where/*.png", "a sentence " * 99])
def test_nothing_found_names_the_source(tmp_path: Path, source: str) -> None:
    picture(tmp_path / "x.png")
    with pytest.raises(NoDocumentsError, match=f"nothing found for .*{source[:8]}"):
        find_files([str(tmp_path / "x.png"), str(tmp_path / source)])


def test_a_folder_of_pdfs_says_how_to_name_them(tmp_path: Path) -> None:
    pdf(tmp_path / "a.pdf")
    with pytest.raises(NoDocumentsError, match=r"no images or videos .* 1 \.pdf .*/\*\.pdf"):
        find_files([str(tmp_path)])


def test_pdfs_beside_pictures_are_not_passed_over_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pdf(tmp_path / "a.pdf")
    picture(tmp_path / "x.png")
    with caplog.at_level(logging.WARNING):
        assert ids(tmp_path) == ["x.png"]
    assert "1 .pdf file(s)" in caplog.text


def test_jsonl_paths_are_relative_to_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "data" / "list.jsonl"
    path.parent.mkdir()
    lines(
        path,
        {"text": "words", "id": "first"},
        "",
        {"image": "p.png", "text": "and words"},
        {"video": ["f1.png", "f2.png"]},
        {"image": "/abs/p.png", "id": "", "text": None},
    )
    found = documents(path)
    assert [document.id for document in found] == [
        "first",
        "list.jsonl:3",
        "list.jsonl:4",
        "list.jsonl:5",
    ]
    assert found[0].content.texts == ("words",)
    assert found[1].image == path.parent / "p.png"
    assert found[2].content.videos == ((path.parent / "f1.png", path.parent / "f2.png"),)
    assert found[3].image == Path("/abs/p.png")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("{'text': 1}", "not JSON"),
        ("[1, 2]", "list; write one JSON object"),
        ({"txt": "a"}, r"unknown field\(s\) txt"),
        ({"text": 5}, "text = 5"),
        ({"image": ["a.png", None]}, "image = "),
        ({"video": []}, "video = "),
        ({"text": "a", "id": 7}, "id is int"),
        ({"id": "only"}, "nothing to rank"),
        ({"text": "a", "importances": [1, 2]}, "without an image"),
        ('{"text": ' + "9" * 5000 + "}", "not JSON"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_line_fails_alone(tmp_path: Path, bad: object, reason: str) -> None:
    path = lines(tmp_path / "list.jsonl", {"text": "fine"}, "", bad, {"text": "also"})
    found = documents(path)
    assert [document.text for document in found] == ["fine", None, "also"]
    assert found[1].id == "list.jsonl:3"
    assert re.search(rf"list\.jsonl, line 3: .*{reason}", failure(found[1]))


def test_a_line_in_another_encoding_fails_alone(tmp_path: Path) -> None:
    good = "\ufeff" + json.dumps({"text": "gr\u00fcn"}, ensure_ascii=False) + "\r\n"
    (tmp_path / "l.jsonl").write_bytes(good.encode() + b'{"text": "gr\xfcn"}\n{"text": "c"}')
    found = documents(tmp_path / "l.jsonl")
    assert [(document.text, document.id) for document in found] == [
        ("gr\u00fcn", "l.jsonl:1"),
        (None, "l.jsonl:2"),
        ("c", "l.jsonl:3"),
    ]
    assert "l.jsonl, line 2: not UTF-8" in failure(found[1])


def test_a_jsonl_file_that_cannot_be_opened_is_one_document_that_fails(tmp_path: Path) -> None:
    (tmp_path / "l.jsonl").symlink_to(tmp_path / "gone.jsonl")
    (document,) = documents(tmp_path / "*.jsonl")
    assert document.id == "l.jsonl"
    with pytest.raises(InputError, match=r"l\.jsonl: No such file.*; check the path"):
        load_image(document.content.images[0], Limits())


def test_an_empty_path_in_a_line_is_named(tmp_path: Path) -> None:
    (document,) = documents(lines(tmp_path / "l.jsonl", {"image": ""}))
    with pytest.raises(InputError, match="image is empty; write a path"):
        load_image(document.content.images[0], Limits())


def test_whatever_else_a_folder_has_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    picture(tmp_path / "x.png")
    for name in ("A.PDF", "sub/b.txt", "c.jsonl", ".hidden.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with caplog.at_level(logging.WARNING):
        assert ids(tmp_path) == ["x.png"]
    assert "1 .pdf, 1 .txt, 1 .jsonl file(s)" in caplog.text


@pytest.mark.parametrize("url", ["https://example.org/a.png", "data:image/png;base64,iVBORw0"])
def test_a_url_in_a_line_is_told_from_a_path(tmp_path: Path, url: str) -> None:
    (document,) = documents(lines(tmp_path / "l.jsonl", {"image": [url]}))
    with pytest.raises(MediaError, match="URLs are not fetched"):
        load_image(document.content.images[0], Limits())


def test_empty_files_hold_no_documents(tmp_path: Path) -> None:
    (tmp_path / "l.jsonl").touch()
    with pytest.raises(NoDocumentsError, match=r"no documents in l\.jsonl"):
        documents(tmp_path / "l.jsonl")


def test_every_page_of_a_pdf_is_a_document(tmp_path: Path) -> None:
    found = documents(pdf(tmp_path / "a.pdf"))
    assert [document.id for document in found] == ["a.pdf#page=1", "a.pdf#page=2", "a.pdf#page=3"]
    for number, document in enumerate(found):
        page = sheet(document)
        assert page.mode == "RGB"
        # 300 x 400 points at 150 dots an inch
        assert page.size == pytest.approx((625, 834), abs=1)
        red, green, blue = page.getpixel((300, 400))
        assert abs(red - 200) < 6
        assert abs(green - 40 * number) < 6
        assert blue < 6
    assert sheet(found[1]).tobytes() == sheet(found[1]).tobytes(), "the same at each reading"


@pytest.mark.parametrize("size", [(300, 400), (1684, 2384), (700, 71)])
def test_a_page_stays_below_the_pixel_limit(tmp_path: Path, size: tuple[int, int]) -> None:
    files = find_files([str(pdf(tmp_path / "a.pdf", 1, size))])
    (document,) = read_documents(files, 100_000)
    page = sheet(document)
    assert 97_000 < page.width * page.height <= 100_000
    assert page.width / page.height == pytest.approx(size[0] / size[1], rel=0.02)


def test_hundreds_of_pages_are_not_rendered_before_they_are_read(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", 300, (8, 8))
    found = documents(path)
    assert [document.image for document in found] == [Page(path, n, LIMIT) for n in range(1, 301)]
    path.unlink()
    assert "a.pdf, page 7: cannot be opened" in failure(found[6], MediaError)


def test_a_broken_pdf_fails_alone(tmp_path: Path) -> None:
    path, whole = pdf(tmp_path / "a.pdf"), pdf(tmp_path / "b.pdf", 1)
    path.write_bytes(path.read_bytes()[:200])
    bad, good = documents(path, whole)
    assert (bad.id, good.id) == ("a.pdf", "b.pdf#page=1")
    assert "a.pdf: damaged" in failure(bad, MediaError)


def test_a_locked_pdf_and_one_without_pages_fail_alone(tmp_path: Path) -> None:
    for name, words in ("locked", locked_pdf()), ("empty", pdf_of(b"<</Type/Pages/Kids[]>>")):
        (tmp_path / f"{name}.pdf").write_bytes(words)
        (document,) = documents(tmp_path / f"{name}.pdf")
        assert document.id == f"{name}.pdf"
        assert re.search(rf"{name}\.pdf: .*{name}", failure(document, MediaError))


def test_a_page_that_is_none_fails_alone(tmp_path: Path) -> None:
    pages = b"<</Type/Pages/Kids[3 0 R 4 0 R]/Count 2/MediaBox[0 0 90 90]>>"
    whole = b"<</Type/Page/Parent 2 0 R>>"
    (tmp_path / "a.pdf").write_bytes(pdf_of(pages, b"(no page)", whole))
    bad, good = documents(tmp_path / "a.pdf")
    assert "a.pdf, page 1: damaged" in failure(bad, MediaError)
    assert sheet(good).size == pytest.approx((188, 188), abs=1)


def test_without_pypdfium2_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'minireranker\[pdf\]'"):
        documents(pdf(tmp_path / "a.pdf"))


def test_reading_a_folder_needs_no_pdf_library(tmp_path: Path) -> None:
    picture(tmp_path / "x.png")
    code = (
        "import sys; from minireranker.commands.sources import *; "
        f"read_documents(find_files([{str(tmp_path)!r}]), 9); assert 'pypdfium2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_what_a_folder_has_besides_is_told_with_patterns_that_find_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "below").mkdir()
    for name in ("a.png", "notes.txt", "below/more.txt", "lines.jsonl"):
        (tmp_path / name).write_text("x")
    assert len(find_files([str(tmp_path)])) == 1
    (said,) = caplog.messages
    assert "2 .txt, 1 .jsonl" in said
    patterns = [part.strip("'") for part in said.split() if part.startswith("'")]
    found = [file.path.name for pattern in patterns for file in find_files([pattern])]
    assert sorted(found) == ["lines.jsonl", "more.txt", "notes.txt"]
