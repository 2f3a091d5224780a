"""From what is typed to documents: folders, patterns, files, JSONL, PDF."""

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from minireranker.commands.sources import find_files, read_documents
from minireranker.engine.content import Document
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


def test_a_text_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"gr\xfcn")
    with pytest.raises(InputError, match=r"a\.txt: .*UTF-8"):
        documents(tmp_path / "a.txt")


def test_what_is_no_image_stays_a_document_for_the_engine_to_name(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("not a picture")
    (tmp_path / "data").write_text("neither")
    assert ids(tmp_path / "x.png", tmp_path / "data") == ["x.png", "data"]


@pytest.mark.parametrize("source", ["nowhere", "no/where/*.png"])
def test_nothing_found_names_the_source(tmp_path: Path, source: str) -> None:
    picture(tmp_path / "x.png")
    with pytest.raises(NoDocumentsError, match=f"nothing found for .*{source[:8]}"):
        find_files([str(tmp_path / "x.png"), str(tmp_path / source)])


def test_a_folder_of_pdfs_says_how_to_name_them(tmp_path: Path) -> None:
    pdf(tmp_path / "a.pdf")
    with pytest.raises(NoDocumentsError, match=r"no images or videos .* 1 PDF .*/\*\.pdf"):
        find_files([str(tmp_path)])


def test_pdfs_beside_pictures_are_not_passed_over_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pdf(tmp_path / "a.pdf")
    picture(tmp_path / "x.png")
    with caplog.at_level(logging.WARNING):
        assert ids(tmp_path) == ["x.png"]
    assert "1 PDF file(s)" in caplog.text


def test_jsonl_paths_are_relative_to_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "data" / "list.jsonl"
    path.parent.mkdir()
    lines(
        path,
        {"text": "words", "id": "first"},
        "",
        {"image": "p.png", "text": "and words"},
        {"video": ["f1.png", "f2.png"]},
        {"image": "/abs/p.png"},
    )
    found = documents(path)
    assert [document.id for document in found] == [
        "first",
        "list.jsonl#line=3",
        "list.jsonl#line=4",
        "list.jsonl#line=5",
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
        ({"txt": "a"}, r"unknown field\(s\) \['txt'\]"),
        ({"text": 5}, "text = 5"),
        ({"image": ["a.png", None]}, "image = "),
        ({"video": []}, "video = "),
        ({"text": "a", "id": 7}, "id = 7"),
        ({"id": "only"}, "nothing to rank"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path: Path, bad: object, reason: str) -> None:
    path = lines(tmp_path / "list.jsonl", {"text": "fine"}, "", bad)
    with pytest.raises(InputError, match=rf"list\.jsonl, line 3: .*{reason}"):
        documents(path)


def test_a_jsonl_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "l.jsonl").write_bytes(b'{"text": "gr\xfcn"}')
    with pytest.raises(InputError, match=r"l\.jsonl: .*UTF-8"):
        documents(tmp_path / "l.jsonl")


def test_empty_files_hold_no_documents(tmp_path: Path) -> None:
    (tmp_path / "l.jsonl").touch()
    with pytest.raises(NoDocumentsError, match=r"no documents in l\.jsonl"):
        documents(tmp_path / "l.jsonl")


def test_every_page_of_a_pdf_is_a_document(tmp_path: Path) -> None:
    found = documents(pdf(tmp_path / "a.pdf"))
    assert [document.id for document in found] == ["a.pdf#page=1", "a.pdf#page=2", "a.pdf#page=3"]
    for number, document in enumerate(found):
        with Image.open(io.BytesIO(document.image)) as page:
            assert page.mode == "RGB"
            # 300 x 400 points at 150 dots an inch
            assert page.size == pytest.approx((625, 834), abs=1)
            red, green, blue = page.getpixel((300, 400))
            assert abs(red - 200) < 6
            assert abs(green - 40 * number) < 6
            assert blue < 6


@pytest.mark.parametrize("size", [(300, 400), (1684, 2384), (700, 71)])
def test_a_page_stays_below_the_pixel_limit(tmp_path: Path, size: tuple[int, int]) -> None:
    files = find_files([str(pdf(tmp_path / "a.pdf", 1, size))])
    (document,) = read_documents(files, 100_000)
    with Image.open(io.BytesIO(document.image)) as page:
        assert 97_000 < page.width * page.height <= 100_000
        assert page.width / page.height == pytest.approx(size[0] / size[1], rel=0.02)


def test_a_broken_pdf_is_named(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(MediaError, match=r"a\.pdf: not a PDF that can be read"):
        documents(path)


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
