"""Routes beside reranking: probes, info, documents about the interface, TLS, bodies of any JSON."""

import json
import re
import socket
import ssl

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minireranker.errors import ConfigurationError
from minireranker.serve.config import ServeConfig
from minireranker.serve.tls import read_credentials


def test_probes_tell_life_from_readiness(serve):
    server = serve()
    with server.client() as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/ready").json() == {"ready": True}
        server.run(server.service.drain(1))
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 503
        answer = client.post("/v1/rerank", json={"query": "q", "documents": ["d"]})
        assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE")


def test_the_end_waits_for_a_slow_client_no_longer_than_it_is_told_to(serve):
    server = serve(grace_seconds=3_600.0, request_seconds=3_600.0)
    head = b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.server.port)) as slow:
        slow.sendall(head + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        assert slow.recv(64).startswith(b"HTTP/1.1 100")  # its body is waited for
        server.run(server.server.stop(1.0))


def test_overload_is_told_with_when_to_come_back(serve):
    server = serve(queue_documents=2, call_documents=10)
    with server.client() as client:
        answer = client.post("/v1/rerank", json={"query": "q", "documents": ["d"] * 3})
        assert answer.status_code == 400
    full = serve(queue_bytes=100)
    with full.client() as client:
        answer = client.post("/v1/rerank", json={"query": "q" * 100, "documents": ["d"]})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error_type"] == "Overloaded"
        for _ in range(3):
            assert client.post("/rerank", json={"query": "q", "texts": ["t"]}).status_code == 200


def test_info_has_our_names_and_theirs(client, reranker):
    info = client.get("/info").json()
    assert info["model_id"] == info["model"] == reranker.checkpoint.name
    assert info["max_client_batch_size"] == info["max_documents"] == 1_000
    assert info["max_input_length"] == reranker.profile.limits.max_tokens
    models = client.get("/v1/models").json()
    assert [model["id"] for model in models["data"]] == [info["model"]]


def test_the_schema_describes_what_is_served(client):
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) >= {"/rerank", "/v1/rerank", "/v2/rerank", "/health", "/metrics"}
    referred = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(schema)))
    assert referred == {"RerankBody", "TextsBody"}
    assert set(schema["components"]["schemas"]) >= referred
    assert "401" in schema["paths"]["/info"]["get"]["responses"]


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_load_nothing_from_anywhere_else(client, path):
    answer = client.get(path)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    sources = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert [source for source in sources if not source.startswith(("/", "data:"))] == []
    assert {client.get(source).status_code for source in sources if source[0] == "/"} == {200}
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", answer.text, re.DOTALL)
    assert "".join(scripts) == ""
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_is_turned_off_is_not_there(serve):
    server = serve(docs=False, page=False)
    with server.client() as client:
        for path in ("/", "/page/page.js", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 404
        assert client.get("/health").status_code == 200


def test_an_unknown_path_or_method_is_told_in_json(client):
    missing, wrong = client.get("/nowhere"), client.get("/v1/rerank")
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert missing.json()["message"] == "Not Found: see /docs"
    assert wrong.headers["allow"] == "POST"


def test_a_taken_port_is_named(running, serve):
    with pytest.raises(ConfigurationError, match="cannot listen there"):
        serve(http_port=running.server.port)


class TestTls:
    def context(self, certificates, *, client=None):
        context = ssl.create_default_context(cafile=certificates / "ca.pem")
        if client:
            context.load_cert_chain(certificates / f"{client}.pem", certificates / f"{client}.key")
        return context

    def files(self, certificates, **more):
        return {
            "tls_certificate": certificates / "server.pem",
            "tls_key": certificates / "server.key",
            **more,
        }

    def test_a_server_with_a_certificate_speaks_tls_only(self, serve, certificates):
        server = serve(**self.files(certificates))
        with server.client(verify=self.context(certificates)) as client:
            assert client.get("/health").status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"http://127.0.0.1:{server.server.port}/health", trust_env=False)
        old = self.context(certificates)
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        address = "127.0.0.1", server.server.port
        with socket.create_connection(address) as plain, pytest.raises(ssl.SSLError):
            old.wrap_socket(plain, server_hostname="127.0.0.1")

    def test_mutual_tls_lets_only_known_clients_in(self, serve, certificates):
        server = serve(**self.files(certificates, tls_client_ca=certificates / "ca.pem"))
        known = self.context(certificates, client="client")
        with server.client(verify=known) as client:
            assert client.get("/health").status_code == 200
        unknown = server.client(verify=self.context(certificates))
        with unknown as client, pytest.raises(httpx.TransportError):
            client.get("/health")

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            ({"tls_certificate": "nowhere.pem"}, "nowhere.pem: No such file"),
            ({"tls_key": "client.key"}, "no certificate and its key"),
            ({"tls_certificate": "server.key"}, "no certificate and its key"),
            ({"tls_client_ca": "server.key"}, "holds no PEM certificates"),
        ],
    )
    def test_files_that_do_not_fit_are_named(self, certificates, files, message):
        named = {name: certificates / file for name, file in files.items()}
        with pytest.raises(ConfigurationError, match=message):
            read_credentials(ServeConfig(**self.files(certificates, **named)))

    def test_a_key_with_a_password_is_not_asked_for(self, certificates, tmp_path):
        import subprocess

        locked = tmp_path / "locked.key"
        command = ["openssl", "ec", "-aes128", "-passout", "pass:secret", "-out", str(locked)]
        source = ["-in", str(certificates / "server.key")]
        subprocess.run([*command, *source], check=True, capture_output=True)
        with pytest.raises(ConfigurationError, match="without a password"):
            read_credentials(ServeConfig(**self.files(certificates, tls_key=locked)))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["text", "image", "video", "content", "type", "image_url", "url", "id"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
BODY = st.fixed_dictionaries(
    {},
    optional={
        "query": JSON | st.just("q"),
        "documents": JSON | st.lists(JSON | st.text(max_size=5), min_size=1, max_size=3),
        "texts": st.lists(st.text(max_size=5), max_size=2) | JSON,
        **dict.fromkeys(("top_n", "instruction", "return_documents", "max_tokens_per_doc"), JSON),
        **dict.fromkeys(("rank_fields", "return_kept", "raw_scores", "truncate"), JSON),
    },
)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(body=BODY, path=st.sampled_from(["/rerank", "/v1/rerank", "/v2/rerank"]))
def test_any_json_is_answered_in_json(client, body, path):
    answer = client.post(path, json=body)
    assert answer.status_code in (200, 400, 404), answer.text
    found = answer.json()
    assert answer.status_code == 200 or found["message"]
