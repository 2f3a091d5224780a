"""Fetching: which URLs are refused before anything is resolved, and what may come back."""

import asyncio
import contextlib
import socket
import threading
import time

import pytest

from minireranker.errors import MediaError
from minireranker.serve.config import ServeConfig
from minireranker.serve.fetch import Fetcher
from minireranker.serve.locations import Location

HOST = "files.example"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Origin:
    """A server on the loopback that answers with given bytes, or drips them."""

    def __init__(self, answer, pause=0.0, tls=None):
        self.answer, self.pause, self.tls, self.requests = answer, pause, tls, []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self.answer_one(connection)

    def answer_one(self, connection):
        if self.tls is not None:
            connection = self.tls.wrap_socket(connection, server_side=True)
        with connection:
            self.requests.append(connection.recv(65_536))
            self.send(connection)

    def send(self, connection):
        if not self.pause:
            connection.sendall(self.answer)
        else:
            for at in range(len(self.answer)):
                connection.sendall(self.answer[at : at + 1])
                time.sleep(self.pause)

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(5)


@pytest.fixture
def origin():
    made = []

    def make(*arguments, **options):
        made.append(Origin(*(arguments or (GOOD,)), **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def settings(origin, **more):
    defaults = {
        "url_hosts": (HOST,),
        "url_ports": (origin.port,),
        "url_networks": ("127.0.0.0/8",),
        "url_seconds": 5.0,
    }
    return ServeConfig(**{**defaults, **more})


def fetch(config, url, resolver=lambda host, port: ["127.0.0.1"], most=10**6):
    async def run():
        fetcher = Fetcher(config, resolver)
        try:
            return await fetcher.fetch(url, most)
        finally:
            fetcher.close()

    return asyncio.run(run())


def test_an_allowed_file_is_fetched(origin):
    server = origin()
    assert fetch(settings(server), f"http://{HOST}:{server.port}/a/b?c=d%20e#f") == b"hello"
    lines = server.requests[0].decode().split("\r\n")
    assert lines[0] == "GET /a/b?c=d%20e HTTP/1.1"
    assert f"Host: {HOST}:{server.port}" in lines


def test_the_systems_resolver_is_asked(origin):
    server = origin()
    config = settings(server, url_hosts=("localhost",))

    async def run():
        fetcher = Fetcher(config)
        return await fetcher.fetch(f"http://localhost:{server.port}/", 100)

    if any(entry[4][0] == "::1" for entry in socket.getaddrinfo("localhost", server.port)):
        pytest.skip("localhost has an IPv6 address here, which is not allowed in this test")
    assert asyncio.run(run()) == b"hello"


def test_a_chunked_file_is_put_together(origin):
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    )
    server = origin(answer)
    assert fetch(settings(server), f"http://{HOST}:{server.port}/") == b"hello"


def test_loopback_is_refused_unless_its_network_is_listed(origin):
    server = origin()
    with pytest.raises(MediaError, match="leads to an address that nothing is fetched from"):
        fetch(settings(server, url_networks=()), f"http://{HOST}:{server.port}/")
    assert server.requests == []


def test_a_name_that_changes_its_mind_is_asked_once(origin):
    server = origin()
    asked = []

    def rebinding(host, port):
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    assert fetch(settings(server), f"http://{HOST}:{server.port}/", rebinding) == b"hello"
    assert asked == [HOST]


@pytest.mark.parametrize(
    "addresses",
    [
        ["93.184.216.34", "127.0.0.1"],
        ["127.0.0.1", "10.0.0.1"],
        ["::ffff:169.254.169.254"],
        ["fe80::1%lo"],
        ["nonsense"],
    ],
)
def test_one_private_address_among_several_spoils_all(origin, addresses):
    server = origin()
    networks = ("127.0.0.0/8",) if addresses[0] == "127.0.0.1" else ()
    with pytest.raises(MediaError, match="nothing is fetched from"):
        fetch(
            settings(server, url_networks=networks),
            f"http://{HOST}:{server.port}/",
            lambda host, port: addresses,
        )
    assert server.requests == []


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        *(
            (b"HTTP/1.1 %d X\r\nLocation: http://files.example/\r\n\r\n" % code, "redirects")
            for code in (301, 302, 303, 307, 308)
        ),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "answers 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000001\r\n\r\n", "over 1000000 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_001, "over 1000000 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nx", "compressed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "cut off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "no sound answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", "no sound answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, "no sound answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200, "no sound answer"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "no sound answer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 3, "no sound answer"),
        (b"", "no sound answer"),
    ],
)
def test_no_other_answer_is_taken(origin, answer, message):
    server = origin(answer)
    with pytest.raises(MediaError, match=message) as caught:
        fetch(settings(server), f"http://{HOST}:{server.port}/secret")
    assert "secret" not in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 90, GOOD[:-5] + b"x" * 99]
)
def test_a_byte_at_a_time_is_given_up_on_and_holds_no_thread(origin, answer):
    slow, good = origin(answer, pause=0.05), origin()
    config = settings(slow, url_ports=(slow.port, good.port), url_seconds=1.0, url_connections=1)

    async def run():
        fetcher = Fetcher(config, lambda host, port: ["127.0.0.1"])
        with pytest.raises(MediaError, match="too slow"):
            await fetcher.fetch(f"http://{HOST}:{slow.port}/", 10**6)
        return await fetcher.fetch(f"http://{HOST}:{good.port}/", 10**6)

    assert asyncio.run(run()) == b"hello"


def test_a_resolver_that_hangs_is_given_up_on(origin):
    server, let_go = origin(), threading.Event()

    def stuck(host, port):
        let_go.wait(5)
        return []

    async def run():
        fetcher = Fetcher(settings(server, url_seconds=0.1), stuck)
        with pytest.raises(MediaError, match="too slow"):
            await fetcher.fetch(f"http://{HOST}:{server.port}/", 10)
        let_go.set()

    asyncio.run(run())


def test_what_is_not_there_is_not_reachable(origin):
    server = origin()
    config = settings(server, url_networks=("127.0.0.0/8",), url_ports=(1,))
    with pytest.raises(MediaError, match="not reachable"):
        fetch(config, f"http://{HOST}:1/")
    with pytest.raises(MediaError, match="without an address"):
        fetch(settings(server), f"http://{HOST}:{server.port}/", lambda host, port: [])

    def unknown(host, port):
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(MediaError, match="not reachable"):
        fetch(settings(server), f"http://{HOST}:{server.port}/", unknown)


def test_tls_is_held_to_the_hosts_certificate(origin, certificates):
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    server = origin(GOOD, tls=context)
    with pytest.raises(MediaError, match="not reachable, or no sound answer"):
        fetch(settings(server), f"https://{HOST}:{server.port}/")
    assert server.requests == []


def test_a_host_with_a_good_certificate_is_fetched_from(origin, certificates, monkeypatch):
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    server = origin(GOOD, tls=context)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    config = settings(server, url_hosts=("localhost",))
    assert fetch(config, f"https://localhost:{server.port}/") == b"hello"


class TestLocation:
    CONFIG = ServeConfig(
        url_hosts=(HOST, "*.wild.example", "127.0.0.1", "::1"), url_ports=(80, 443)
    )

    @pytest.mark.parametrize(
        ("url", "host", "port"),
        [
            (f"http://{HOST}/x", HOST, 80),
            (f"https://{HOST.upper()}./x", HOST, 443),
            (f"http://{HOST}:443", HOST, 443),
            ("http://a.wild.example/", "a.wild.example", 80),
            ("http://a.b.wild.example/", "a.b.wild.example", 80),
        ],
    )
    def test_a_plain_url_is_taken_apart(self, url, host, port):
        found = Location.of(url, self.CONFIG)
        assert (found.host, found.port) == (host, port)

    def test_a_star_is_every_name(self):
        assert Location.of("http://any.thing/", ServeConfig(url_hosts=("*",))).host == "any.thing"

    @pytest.mark.parametrize(
        "url",
        [
            *("http://wild.example/", "http://notwild.example/", "http://other.example/"),
            *(f"ftp://{HOST}/", "file:///etc/passwd", "gopher://x/", "javascript:x", "//x/y"),
            *(f"http://user@{HOST}/", f"http://u:p@{HOST}/", f"http://{HOST}@evil.example/"),
            *(f"http://{HOST}:22/", f"http://{HOST}:/", f"http://{HOST}:80:80/"),
            *(f"http://{HOST}:99999/", f"http://{HOST}:-1/", f"http://{HOST}:8_0/"),
            *(f"http://{HOST}\\@evil.example/", f"http:\\\\{HOST}/", f"http://{HOST}%00.x/"),
            *(
                f"http://{HOST}/a b",
                f"http://{HOST}/\n",
                f"http://{HOST}/\r\nX: y",
                f" http://{HOST}",
            ),
            *(f"http://evil.example#{HOST}", f"http://evil.example?{HOST}", "http://", "http:///x"),
            *(f"http://.{HOST}/", f"http://{HOST}../", f"http://{HOST}%2eevil.example/"),
            *("http://127.0.0.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[::1/"),
            *("http://\uff46iles.example/", "http://files\u3002example/", f"http://{HOST}/é"),
            f"http://{HOST}/" + "a" * 8_192,
        ],
    )
    def test_anything_else_is_refused_unrepeated(self, url):
        with pytest.raises(MediaError) as caught:
            Location.of(url, self.CONFIG)
        assert "evil" not in str(caught.value)
