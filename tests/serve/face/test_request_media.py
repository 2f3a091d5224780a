"""What a request brings as engine documents: sources told apart, paths kept in, bytes counted."""

import asyncio
import base64
import gc
import os

import pytest

from minireranker import DocumentId
from minireranker.configs import Limits
from minireranker.errors import InputError, MediaError
from minireranker.serve.config import ServeConfig
from minireranker.serve.jobs import Given
from minireranker.serve.media import RequestMedia


class Files:
    """Stands for the network: gives a file, and remembers who asked."""

    def __init__(self, data):
        self.data, self.asked = data, []

    async def fetch(self, url, max_bytes):
        self.asked.append((url, max_bytes))
        return self.data

    def close(self):
        pass


def read(given, files=None, limits=None, **settings):
    media = RequestMedia(ServeConfig(**settings), limits or Limits(), files)
    return asyncio.run(media.document(given))


@pytest.fixture
def folder(tmp_path, encoded):
    """served/ with a picture, a link out of it and one within; a picture beside it."""
    served = tmp_path / "served"
    (served / "deep").mkdir(parents=True)
    for path in (served / "deep" / "in.png", tmp_path / "out.png", tmp_path / "served-not.png"):
        path.write_bytes(encoded(40, 50))
    (served / "link-in.png").symlink_to(served / "deep" / "in.png")
    (served / "link-out.png").symlink_to(tmp_path / "out.png")
    (served / "deep-out").symlink_to(tmp_path)
    os.mkfifo(served / "pipe")
    return served


def test_bytes_and_base64_are_taken_as_they_are(encoded):
    data = encoded(40, 50)
    for source in (data, base64.b64encode(data).decode()):
        document = read(Given(texts=("a", "b"), images=(source,), id="x"))
        assert (document.image, document.text, document.id) == ([data], ("a", "b"), "x")


def test_an_id_or_a_text_alone_is_what_the_engine_knows_for_the_same_in_several_requests():
    alone = read(Given(id="x"))
    assert (type(alone), alone) == (DocumentId, "x")
    text = read(Given(texts=("a",)))
    assert (type(text), text) == (str, "a")
    assert read(Given(texts=("a",), id="x")).id == "x"
    with pytest.raises(InputError, match="the document is empty"):
        read(Given())


def test_a_blank_text_is_a_document_as_it_is_to_the_library(client, reranker):
    answer = client.post("/rerank", json={"query": "q", "texts": ["", " "], "raw_scores": True})
    expected = reranker.rank("q", ["", " "])
    assert [hit["score"] for hit in answer.json()] == [hit.score for hit in expected]


def test_a_list_of_pictures_is_a_video(encoded):
    frames = (encoded(40, 50, 1), encoded(40, 50, 2))
    assert read(Given(videos=(frames,))).content.videos == (frames,)


@pytest.mark.parametrize(
    "name", ["deep/in.png", "link-in.png", "deep/../deep/in.png", "./deep//in.png"]
)
def test_a_path_under_a_root_is_read(folder, encoded, name):
    document = read(Given(images=(f"{folder}/{name}",)), path_roots=(folder,))
    assert document.image == [encoded(40, 50)]


def test_a_root_may_itself_be_a_link(folder, tmp_path, encoded):
    root = tmp_path / "root"
    root.symlink_to(folder)
    document = read(Given(images=(f"{root}/deep/in.png",)), path_roots=(root,))
    assert document.image == [encoded(40, 50)]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../out.png",
            "link-out.png",
            "deep-out/out.png",
            "deep/../../out.png",
            "deep",
            "nowhere",
        ),
        *("pipe", "../served-not.png", "deep-out/../../etc/passwd", "a\0b", "\n"),
    ],
)
def test_no_other_path_is(folder, name):
    with pytest.raises(MediaError) as caught:
        read(Given(images=(f"{folder}/{name}",)), path_roots=(folder,))
    assert str(folder) not in str(caught.value)


def test_outside_the_roots_nothing_tells_whether_a_file_is_there(folder, tmp_path):
    def words(name):
        with pytest.raises(MediaError) as caught:
            read(Given(images=(f"{tmp_path}/{name}",)), path_roots=(folder,))
        return str(caught.value)

    assert words("out.png") == words("not-there.png")


def test_without_roots_a_path_is_no_path(folder):
    with pytest.raises(MediaError, match="is no base64"):
        read(Given(images=(f"{folder}/deep/in.png",)))


def test_a_url_is_fetched_and_its_bytes_are_held_until_the_document_goes(encoded):
    files = Files(encoded(40, 50))
    media = RequestMedia(ServeConfig(url_held_bytes=2 * len(files.data)), Limits(), files)
    given = Given(images=("http://files.example/x",))
    first, second = asyncio.run(media.document(given)), asyncio.run(media.query(given))
    assert files.asked == [("http://files.example/x", Limits().max_image_bytes)] * 2
    assert first.image == second.image == [files.data]
    with pytest.raises(MediaError, match="too many fetched files"):
        asyncio.run(media.document(given))
    del first
    gc.collect()
    assert asyncio.run(media.document(given)).image == [files.data]


def test_a_refused_document_holds_nothing(encoded):
    files = Files(encoded(40, 50))
    media = RequestMedia(ServeConfig(url_held_bytes=len(files.data)), Limits(), files)
    bad = Given(images=("http://files.example/x", "no base64"))
    for _ in range(3):
        with pytest.raises(MediaError, match="is no base64"):
            asyncio.run(media.document(bad))
    assert asyncio.run(media.document(Given(images=bad.images[:1]))).image == [files.data]


@pytest.mark.parametrize(
    ("settings", "limits", "message"),
    [
        ({"image_pixels": 40 * 50 - 1}, Limits(), "over 1999 pixels, what is read here"),
        ({}, Limits(max_source_pixels=1_999), "limits.max_source_pixels"),
        ({}, Limits(max_image_bytes=100), "at most 100|over 100"),
        ({}, Limits(min_side=41), "limits.min_side"),
    ],
)
def test_limits_are_checked_before_a_pixel_is_decoded(encoded, settings, limits, message):
    whole = encoded(40, 50)
    head = whole[:60] if limits.max_image_bytes > 100 else whole
    for source in (head, base64.b64encode(head).decode()):
        with pytest.raises(MediaError, match=message):
            read(Given(images=(source,)), limits=limits, **settings)


def test_a_video_with_too_many_frames_is_refused(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        for _ in range(12):
            container.mux(stream.encode(av.VideoFrame(64, 64, "rgb24").reformat(format="yuv420p")))
        container.mux(stream.encode())
    data = path.read_bytes()
    assert read(Given(videos=(data,)), video_frames=12).content.videos == (data,)
    with pytest.raises(MediaError, match="over 11 frames"):
        read(Given(videos=(data,)), video_frames=11)
    with pytest.raises(MediaError, match="video of"):
        read(Given(videos=(data,)), image_pixels=4_095)


def test_the_media_of_a_document_are_counted(encoded):
    given = Given(images=(encoded(40, 50),), videos=((encoded(40, 50),) * 2,))
    assert read(given, document_media=3).content.is_visual
    with pytest.raises(InputError, match="3 images, videos and frames: at most 2"):
        read(given, document_media=2)
