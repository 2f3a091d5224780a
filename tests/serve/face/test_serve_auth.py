"""Tokens and tenants, alone and on every route."""

import pytest

from minireranker.errors import ConfigurationError
from minireranker.serve.auth import Tenant, Tokens, read_tenants, service_options
from minireranker.serve.config import ServeConfig
from minireranker.serve.refusals import UnauthenticatedError

A, B = "a-token-of-some-length", "another-token-of-some-length"


@pytest.fixture
def listed(tmp_path):
    def write(text):
        path = tmp_path / "tenants.toml"
        path.write_text(text, encoding="utf-8")
        return ServeConfig(tenants=path)

    return write


def test_tenants_have_tokens_and_quotas(listed):
    config = listed(f'[acme]\ntoken = "{A}"\nqueue_documents = 7\n[other]\ntoken = "{B}"')
    tenants = read_tenants(config)
    assert tenants == (Tenant("acme", A, queue_documents=7), Tenant("other", B))
    assert service_options(config, tenants).quotas == {"acme": 7}
    assert service_options(ServeConfig(queue_seconds=2.5), ()).queue_seconds == 2.5
    tokens = Tokens(tenants, is_guarded=True)
    assert tokens.tenant(f"Bearer {A}") == "acme"
    assert tokens.tenant(f"bearer {B} ") == "other"
    assert A not in repr(tenants)


@pytest.mark.parametrize(
    "given",
    [
        *(None, "", "Bearer", "Bearer ", A, f"Basic {A}", f"Bearer {A[:-1]}", f"Bearer {A}x"),
        *(f"Bearer {A} {A}", f"Bearer,{A}", f"Bearer {A.upper()}", "Bearer \xe9\ud800", "\x00"),
    ],
)
def test_anything_else_is_nobody(given):
    tokens = Tokens([Tenant("acme", A)], is_guarded=True)
    with pytest.raises(UnauthenticatedError, match="Authorization: Bearer"):
        tokens.tenant(given)


def test_without_tokens_everybody_is_the_same_tenant():
    tokens = Tokens(read_tenants(ServeConfig()), is_guarded=False)
    assert tokens.tenant(None) == tokens.tenant(f"Bearer {A}") == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names nobody"),
        ("[acme]\nqueue_documents = 1", "'acme' has no token"),
        ("acme = 1", "'acme' has no token"),
        ('[acme]\ntoken = "short"', "16 or more"),
        ('[acme]\ntoken = "with blanks in between"', "without blanks"),
        (f'[acme]\ntoken = "{A}"\nquota = 1', "has quota, not token"),
        (f'[acme]\ntoken = "{A}"\nqueue_documents = "1"', "queue_documents of .acme. is no int"),
        (f'[acme]\ntoken = "{A}"\nqueue_documents = 0', "allowed is 1 or more"),
        (f'[acme]\ntoken = "{A}"\n[b]\ntoken = "{A}"', "same token"),
        (f"[acme]\ntoken = {A}", "no TOML"),
    ],
)
def test_a_file_that_cannot_be_honoured_says_why_and_no_token(listed, text, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_tenants(listed(text))
    assert A not in str(caught.value)


@pytest.fixture(scope="module")
def guarded(serve):
    return serve(token=A)


OPEN = ["/", "/page/page.css", "/page/page.js", "/docs", "/openapi.json"]
OPEN += ["/page/draw.js", "/page/results.js", "/health", "/ready"]
CLOSED = [
    *(
        ("GET", path)
        for path in ("/info", "/metrics", "/v1/models", "/nowhere", "/page/", "/docs/")
    ),
    *(("POST", path) for path in ("/rerank", "/v1/rerank", "/v2/rerank", "/rerank/", "/health/")),
    *(("GET", path) for path in ("/docs/..;/info", "/%2e/info", "/page/page.js/")),
]


@pytest.mark.parametrize("path", OPEN)
def test_what_tells_nothing_of_the_servers_work_is_open(guarded, path):
    with guarded.client() as client:
        assert client.get(path).status_code == 200


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_everything_else_needs_a_token(guarded, method, path):
    with guarded.client() as client:
        for headers in ({}, {"Authorization": f"Bearer {B}"}):
            answer = client.request(method, path, headers=headers, content=b"{")
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
        answer = client.request(method, path, headers={"Authorization": f"Bearer {A}"})
        assert answer.status_code != 401


def test_a_token_is_asked_for_before_a_body_is_read(guarded):
    with guarded.client() as client:
        answer = client.post("/rerank", content=b"x" * 2**20)
        assert answer.status_code == 401


def test_figures_are_not_for_those_who_may_not_know_the_cache(serve, listed):
    text = f'[acme]\ntoken = "{A}"\nshow_cache = false\n[watch]\ntoken = "{B}"'
    with serve(tenants=listed(text).tenants).client() as client:
        asked = (client.get("/metrics", headers={"Authorization": f"Bearer {t}"}) for t in (A, B))
        hidden, shown = asked
    assert (hidden.status_code, shown.status_code) == (403, 200)
    assert "show_cache" in hidden.text
    assert "minireranker_cache" in shown.text
    assert "minireranker_cache" not in hidden.text
