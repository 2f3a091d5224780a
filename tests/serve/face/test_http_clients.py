"""Clients that others wrote, unchanged: each where its package is installed."""

import httpx
import pytest

TEXTS = ["a red circle", "the price of tea in China", "blue squares and green stars"]
QUERY = "red things"


@pytest.fixture(scope="module")
def expected(reranker):
    return reranker.rank(QUERY, TEXTS)


class TestCohere:
    @pytest.fixture
    def cohere(self):
        return pytest.importorskip("cohere", exc_type=ImportError)

    @pytest.fixture
    def web(self):
        # The clients' own connections are left to the garbage collector.
        with httpx.Client() as web:
            yield web

    def test_version_2_ranks(self, cohere, web, running, expected):
        client = cohere.ClientV2(api_key="unused", base_url=running.url, httpx_client=web)
        answer = client.rerank(model="rerank-v3.5", query=QUERY, documents=TEXTS, top_n=2)
        found = [(hit.index, hit.relevance_score) for hit in answer.results]
        assert found == [(hit.index, hit.probability) for hit in expected[:2]]
        assert answer.meta.api_version.version == "2"

    def test_version_1_ranks_and_gives_documents_back(self, cohere, web, running, expected):
        client = cohere.Client(api_key="unused", base_url=running.url, httpx_client=web)
        documents = [{"text": text, "note": "mine"} for text in TEXTS]
        answer = client.rerank(
            model="m", query=QUERY, documents=documents, rank_fields=["text"], return_documents=True
        )
        assert [hit.relevance_score for hit in answer.results] == [
            hit.probability for hit in expected
        ]
        assert [hit.document.text for hit in answer.results] == [
            TEXTS[hit.index] for hit in expected
        ]

    def test_errors_are_its_own(self, cohere, web, running):
        client = cohere.ClientV2(api_key="unused", base_url=running.url, httpx_client=web)
        with pytest.raises(cohere.BadRequestError) as caught:
            client.rerank(model="m", query="", documents=TEXTS)
        assert "query" in caught.value.body["message"]

    def test_its_key_is_the_token(self, cohere, web, serve):
        server = serve(token="a-token-of-some-length")
        for key, allowed in (("a-token-of-some-length", True), ("another-token", False)):
            client = cohere.ClientV2(api_key=key, base_url=server.url, httpx_client=web)
            if allowed:
                assert client.rerank(model="m", query=QUERY, documents=TEXTS).results
            else:
                with pytest.raises(cohere.UnauthorizedError):
                    client.rerank(model="m", query=QUERY, documents=TEXTS)


def test_a_text_embeddings_inference_client_ranks(running, expected):
    tei = pytest.importorskip("llama_index.postprocessor.tei_rerank", exc_type=ImportError)
    from llama_index.core.schema import NodeWithScore, TextNode

    client = tei.TextEmbeddingInference(base_url=running.url, model_name="m", top_n=2)
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    found = client.postprocess_nodes(nodes, query_str=QUERY)
    assert [(node.text, node.score) for node in found] == [
        (TEXTS[hit.index], hit.probability) for hit in expected[:2]
    ]


def test_a_client_of_jinas_api_ranks(running, expected, monkeypatch):
    jina = pytest.importorskip(
        "langchain_community.document_compressors.jina_rerank", exc_type=ImportError
    )
    monkeypatch.setattr(jina, "JINA_API_URL", f"{running.url}/v1/rerank")
    client = jina.JinaRerank(jina_api_key="unused", top_n=2)
    found = client.rerank(TEXTS, QUERY)
    assert found == [
        {"index": hit.index, "relevance_score": hit.probability} for hit in expected[:2]
    ]
