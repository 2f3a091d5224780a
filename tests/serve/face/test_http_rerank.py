"""The shapes that clients of Cohere, Jina, vLLM and text-embeddings-inference send and read."""

import base64

import pytest

TEXTS = ["a red circle", "the price of tea in China", "blue squares and green stars"]
QUERY = "red things"


@pytest.fixture(scope="module")
def expected(reranker):
    return reranker.rank(QUERY, TEXTS)


def post(client, path, status=200, **body):
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_scores_are_the_librarys_bit_for_bit(client, expected, path):
    answer = post(client, path, query=QUERY, documents=TEXTS)
    assert [hit["raw_score"] for hit in answer["results"]] == [hit.score for hit in expected]
    assert [hit["relevance_score"] for hit in answer["results"]] == [
        hit.probability for hit in expected
    ]
    assert [hit["index"] for hit in answer["results"]] == [hit.index for hit in expected]
    assert answer["failed"] == []
    assert answer["usage"]["total_tokens"] > 0
    assert answer["timings_ns"]["total"] > 0


def test_texts_come_back_on_v1_only_and_as_asked(client):
    def documents(path, **options):
        answer = post(client, path, query=QUERY, documents=[TEXTS[0]], **options)
        return answer["results"][0].get("document")

    assert documents("/v1/rerank") == {"text": TEXTS[0]}
    assert documents("/v1/rerank", return_documents=False) is None
    assert documents("/v2/rerank") is None
    assert documents("/v2/rerank", return_documents=True) == {"text": TEXTS[0]}


def test_top_n_cuts_and_zero_is_all(client):
    found = [
        len(post(client, "/v1/rerank", query=QUERY, documents=TEXTS, top_n=top)["results"])
        for top in (1, 2, 0, None, 99)
    ]
    assert found == [1, 2, 3, 3, 3]


def test_every_spelling_of_an_image_is_the_same_image(client, reranker, encoded):
    data = encoded(70, 90)
    text = base64.b64encode(data).decode()
    uri = f"data:image/png;base64,{text}"
    documents = [
        {"image": text},
        {"image": uri},
        {"image": text.rstrip("=").replace("+", "-").replace("/", "_")},
        {"image": {"url": uri}},
        {"content": [{"type": "image_url", "image_url": {"url": uri}}]},
        {"content": [{"type": "image_url", "image_url": uri}]},
    ]
    answer = post(client, "/v1/rerank", query=QUERY, documents=documents)
    (expected,) = reranker.rank(QUERY, [data])
    assert {hit["raw_score"] for hit in answer["results"]} == {expected.score}
    assert len(answer["results"]) == len(documents)


def test_parts_of_one_document_belong_together(client, reranker, encoded):
    data = encoded(64, 64)
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    parts = [{"type": "text", "text": "words"}, {"type": "image_url", "image_url": {"url": uri}}]
    together = post(client, "/rerank", query=QUERY, documents=[{"content": parts}])
    (expected,) = reranker.rank(QUERY, [{"image": data, "text": "words"}])
    assert [hit["raw_score"] for hit in together["results"]] == [expected.score]
    # vLLM takes one object with content for as many documents as it has parts.
    apart = post(client, "/rerank", query=QUERY, documents={"content": parts})
    assert len(apart["results"]) == 2


def test_a_query_may_be_an_image(client, reranker, encoded):
    data = encoded(64, 96)
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    content = [{"type": "image_url", "image_url": {"url": uri}}]
    answer = post(client, "/v1/rerank", query={"content": content}, documents=TEXTS)
    expected = reranker.rank({"image": data}, TEXTS)
    assert [hit["raw_score"] for hit in answer["results"]] == [hit.score for hit in expected]


def test_fields_of_the_clients_own_are_ranked_by(client, reranker):
    documents = [{"title": "Tea", "body": "in China", "year": 1840}]
    answer = post(
        client, "/v1/rerank", query=QUERY, documents=documents, rank_fields=["title", "body"]
    )
    (expected,) = reranker.rank(QUERY, ["title: Tea\nbody: in China"])
    assert answer["results"][0]["raw_score"] == expected.score


def test_a_field_named_many_times_is_read_once(client, reranker):
    documents = [{"title": "Tea", "body": "in China"}]
    for names, text in (
        (["body"] * 64, "in China"),
        (["title", "body", "title"], "title: Tea\nbody: in China"),
    ):
        answer = post(client, "/v1/rerank", query=QUERY, documents=documents, rank_fields=names)
        (expected,) = reranker.rank(QUERY, [text])
        assert answer["results"][0]["raw_score"] == expected.score


def test_texts_are_cut_to_the_tokens_asked_for(client, reranker):
    text = "a long text of many words " * 20
    answer = post(client, "/v2/rerank", query=QUERY, documents=[text], max_tokens_per_doc=8)
    cut = reranker.state.prompt.tokenizer.cut_text(text, 8)
    assert 0 < len(cut) < len(text)
    assert answer["results"][0]["raw_score"] == reranker.rank(QUERY, [cut])[0].score


def test_an_instruction_is_passed_on(client, reranker):
    words = "Find the odd one out."
    answer = post(client, "/v1/rerank", query=QUERY, documents=TEXTS, instruction=words)
    expected = reranker.rank(QUERY, TEXTS, instruction=words)
    assert [hit["raw_score"] for hit in answer["results"]] == [hit.score for hit in expected]


def test_kept_tokens_come_on_request(client, encoded):
    image = base64.b64encode(encoded(64, 96)).decode()
    answer = post(client, "/v1/rerank", query=QUERY, documents=[{"image": image}], return_kept=True)
    (kept,) = answer["results"][0]["kept"]
    assert kept == {"grid": [1, 2, 3], "indices": [0, 1, 2, 3, 4, 5]}


def test_one_bad_document_is_named_and_the_rest_ranked(client, expected):
    bad = [{"image": "no base64!"}, 7, {"image": base64.b64encode(b"GIF89a").decode()}]
    documents = [bad[0], TEXTS[0], bad[1], TEXTS[1], bad[2], TEXTS[2]]
    answer = post(client, "/v1/rerank", query=QUERY, documents=documents)
    assert [hit["raw_score"] for hit in answer["results"]] == [hit.score for hit in expected]
    assert [entry["index"] for entry in answer["failed"]] == [0, 2, 4]
    assert {entry["code"] for entry in answer["failed"]} == {"INVALID_ARGUMENT"}


def test_nothing_ranked_is_an_error_that_names_every_document(client):
    answer = post(client, "/v1/rerank", 400, query=QUERY, documents=[{"image": "%"}, {}])
    assert [entry["index"] for entry in answer["failed"]] == [0, 1]
    assert answer["message"] == answer["detail"] == answer["error"]
    assert answer["message"].startswith("document 0: this image is no base64")


def test_an_unknown_id_is_not_found(client):
    answer = post(client, "/v1/rerank", 404, query=QUERY, documents=[{"id": "nobody"}])
    assert answer["code"] == "NOT_FOUND"


class TestTextsShape:
    def test_ranks_are_a_bare_list_of_probabilities(self, client, expected):
        ranks = post(client, "/rerank", query=QUERY, texts=TEXTS)
        assert ranks == [{"index": hit.index, "score": hit.probability} for hit in expected]

    def test_raw_scores_and_texts_come_on_request(self, client, expected):
        ranks = post(client, "/rerank", query=QUERY, texts=TEXTS, raw_scores=True, return_text=True)
        assert ranks == [
            {"index": hit.index, "score": hit.score, "text": TEXTS[hit.index]} for hit in expected
        ]

    def test_headers_have_the_times(self, client):
        answer = client.post("/rerank", json={"query": QUERY, "texts": TEXTS, "truncate": True})
        characters = len(QUERY) + sum(map(len, TEXTS))
        assert answer.headers["x-compute-characters"] == str(characters)
        assert int(answer.headers["x-total-time"]) >= int(answer.headers["x-inference-time"])

    def test_a_text_that_fails_fails_the_call(self, client):
        answer = client.post(
            "/rerank",
            content=b'{"query": "q", "texts": ["good", "\\ud800"]}',
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == 400
        assert [entry["index"] for entry in answer.json()["failed"]] == [1]

    @pytest.mark.parametrize(
        ("options", "status"),
        [
            ({}, 200),
            ({"truncate": True}, 200),
            ({"truncate": False}, 400),
            ({"truncate": True, "truncation_direction": "Left"}, 400),
            ({"truncate": True, "truncation_direction": "Right"}, 200),
        ],
    )
    def test_a_long_text_is_cut_on_the_right_or_refused(self, client, options, status):
        texts = ["short", "word " * 1_200]
        post(client, "/rerank", status, query=QUERY, texts=texts, **options)
        post(client, "/rerank", 200, query=QUERY, texts=texts[:1], **options)
