"""Bytes on the wire that are hardly HTTP, and the statuses that are right for them."""

from __future__ import annotations

import gzip

GOOD = b'{"query":"q","documents":["d"]}'
"""31 bytes."""
CHUNKED = b"1f\r\n" + GOOD + b"\r\n0\r\n\r\n"
POST = b"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CODING = b"Transfer-Encoding: chunked\r\n\r\n"
BOMB = gzip.compress(b'{"query":"' + b" " * 10_000_000 + b'"}', 9)

GET_METRICS = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"

HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n"

RAW = {
    "no-http": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
    "bad-version": (b"GET / HTTP/x.y\r\n\r\n", b"400"),
    "no-host": (b"GET /health HTTP/1.1\r\n\r\n", b"400"),
    "space-before-colon": (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", b"400"),
    "two-lengths": (
        b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"400",
    ),
    "negative-length": (
        b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"400",
    ),
    "length-no-number": (
        b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Length: 0x10\r\n\r\n",
        b"400",
    ),
    "unknown-coding": (
        b"POST /rerank HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"[45]0[01]",
    ),
    "bad-chunk": (
        b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"400",
    ),
    "head-too-large": (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000, b"400"),
    "oversize-declared": (
        b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 99999999999\r\n\r\n{",
        b"413",
    ),
    "unknown-method": (b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
    "traversal": (b"GET /page/../../config.py HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
    "encoded-traversal": (b"GET /page/%2e%2e/config.py HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
    "nul-path": (b"GET /page/page.js%00 HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
    "absolute-target": (b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
    "websocket": (
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"200|400",
    ),
    "no-method": (b"GET /health\r\n\r\n", b"400"),
    "version-2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"404|400"),
    "version-twice": (b"GET /health HTTP/1.1 HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
    "target-not-ascii": (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
    "through-a-proxy": (b"CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: x\r\n\r\n", b"40[045]"),
    "two-hosts": (b"GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", b"400"),
    "coding-and-length": (
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + CHUNKED,
        b"400",
    ),
    "coding-twice": (
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED,
        b"400",
    ),
    "coding-hidden-in-a-list": (
        POST + b"Transfer-Encoding: identity, chunked\r\n\r\n" + CHUNKED,
        b"[45]0[01]",
    ),
    "coding-misspelt": (POST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKED, b"[45]0[01]"),
    "coding-and-a-space": (POST + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKED, b"400"),
    "length-with-plus": (POST + b"Content-Length: +31\r\n\r\n" + GOOD, b"400"),
    "length-with-underscore": (POST + b"Content-Length: 3_1\r\n\r\n" + GOOD, b"400"),
    "length-of-5000-digits": (POST + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n", b"4(00|13)"),
    "chunk-of-negative-size": (POST + CODING + b"-1\r\n" + GOOD, b"400"),
    "chunk-with-0x": (POST + CODING + b"0x1f\r\n" + GOOD, b"400"),
    "chunk-of-40-digits": (POST + CODING + b"f" * 40 + b"\r\n" + GOOD, b"400"),
    "chunk-of-words": (POST + CODING + b"1f;" + b"a" * 400_000 + b"\r\n" + GOOD, b"400"),
    "expected-and-oversize": (
        POST + b"Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n",
        b"413",
    ),
    "gzip": (
        POST + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB,
        b"415",
    ),
    "gzip-that-is-none": (
        POST + b"Content-Encoding: gzip\r\nContent-Length: 31\r\n\r\n" + GOOD,
        b"415",
    ),
    "header-in-an-id": (POST + b"X-Request-Id: a\rSet-Cookie: x=1\r\n\r\n", b"400"),
    "nul-in-an-id": (POST + b"X-Request-Id: a\0b\r\n\r\n", b"400"),
}

MAY_BE_SILENT = {
    "bad-chunk",
    "chunk-of-negative-size",
    "chunk-with-0x",
    "chunk-of-40-digits",
    "chunk-of-words",
}

ONE_ANSWER = {
    "a-request-in-a-body": POST + b"Content-Length: %d\r\n\r\n" % len(GET_METRICS) + GET_METRICS,
    "a-request-in-a-body-nobody-reads": HEALTH
    + b"Content-Length: %d\r\n\r\n" % len(GET_METRICS)
    + GET_METRICS,
    "a-request-after-two-lengths": POST
    + b"Content-Length: %d\r\n" % (len(CHUNKED) + len(GET_METRICS))
    + CODING
    + CHUNKED
    + GET_METRICS,
    "a-request-in-a-chunk": POST
    + CODING
    + b"%x\r\n" % len(GET_METRICS)
    + GET_METRICS
    + b"\r\n0\r\n\r\n",
    "a-request-in-a-folded-id": HEALTH + b"X-Request-Id: a\r\n GET /metrics\r\n\r\n",
}
"""What a proxy and a server could take for one request and for two."""
