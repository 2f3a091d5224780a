"""Hostile requests: bodies that are hardly JSON, and headers beside a good one."""

from __future__ import annotations

import zlib

from .hostile_request import JSON, Hostile

GOOD = b'{"query": "q", "documents": ["d"]}'
DEEP = b"[" * 970 + b"]" * 970
"""What is read on a short stack, and could not be written on a long one."""
ECHOED = b'"query": "q", "return_documents": true'

BODIES = {
    "empty": b"",
    "blank": b"  \n",
    "cut": GOOD[:-1],
    "more": GOOD + b"x",
    "twice": GOOD + GOOD,
    "list": b"[" + GOOD + b"]",
    "string": b'"query"',
    "number": b"1",
    "null": b"null",
    "nan": b'{"query": "q", "documents": ["d"], "top_n": NaN}',
    "nan-elsewhere": b'{"query": "q", "documents": ["d"], "x": NaN}',
    "infinity": b'{"query": "q", "documents": ["d"], "top_n": Infinity}',
    "minus-infinity": b'{"query": "q", "documents": ["d"], "top_n": -Infinity}',
    "overflow": b'{"query": "q", "documents": ["d"], "top_n": 1e999}',
    "many-digits": b'{"query": "q", "documents": ["d"], "top_n": ' + b"9" * 5_000 + b"}",
    "single-quotes": b"{'query': 'q', 'documents': ['d']}",
    "comment": b"/* x */" + GOOD,
    "comma": b'{"query": "q", "documents": ["d"],}',
    "deep-list": b"[" * 100_000,
    "deep-object": b'{"a":' * 100_000,
    "deep-documents": b'{"query": "q", "documents": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "deep-echo": b'{%s, "documents": [{"text": "a", "x": %s}]}' % (ECHOED, DEEP),
    "deep-and-long-echo": b'{%s, "documents": [{"text": "a", "x": %s, "y": "%s"}]}'
    % (ECHOED, DEEP, b"y" * 300_000),
    "deep-and-long-field": b'{"query": "q", "rank_fields": ["x", "y"], "documents": '
    b'[{"x": %s, "y": "%s"}]}' % (DEEP, b"y" * 300_000),
    "deep-unused": b'{"query": "q", "documents": ["d"], "x": %s}' % (b"[" * 64 + b"]" * 64),
    "bad-utf8": b'{"query": "\xff\xfe", "documents": ["d"]}',
    "overlong-utf8": b'{"query": "\xc0\xaf", "documents": ["d"]}',
    "utf8-surrogate": b'{"query": "\xed\xa0\x80", "documents": ["d"]}',
    "cut-utf8": GOOD[:-3] + b"\xe2\x82",
    "utf16": GOOD.decode().encode("utf-16"),
    "utf32": GOOD.decode().encode("utf-32"),
    "bom": b"\xef\xbb\xbf" + GOOD,
    "nul": b'{"query": "q\0", "documents": ["d"]}',
    "surrogate-query": b'{"query": "\\ud800", "documents": ["d"]}',
    "surrogate-text": b'{"query": "q", "documents": ["\\udfff"]}',
    "surrogate-instruction": b'{"query": "q", "documents": ["d"], "instruction": "\\ud800"}',
    "surrogate-id": b'{"query": "q", "documents": [{"id": "\\ud800"}]}',
    "surrogate-image": b'{"query": "q", "documents": [{"image": "\\ud800"}]}',
    "no-documents": b'{"query": "q"}',
    "no-query": b'{"documents": ["d"]}',
    "both-shapes": b'{"query": "", "documents": [], "texts": ["t"]}',
    "form": b"query=q&documents=d",
    "xml": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>',
    "gzip": zlib.compress(GOOD),
    "protobuf": b"\x0a\x01q\x12\x01d",
}


def body_cases():
    for name, body in BODIES.items():
        yield Hostile(f"body-{name}", body)
    accepted = {
        "surrogate-model": b'{"query": "q", "documents": ["d"], "model": "\\ud800"}',
        "repeated-keys": b'{"query": "q", "query": "r", "documents": [], "documents": ["d"]}',
        "not-too-deep": b'{%s, "documents": [{"text": "a", "x": %s}]}'
        % (ECHOED, b"[" * 60 + b"]" * 60),
        "many-keys": b'{%s, "documents": ["d"]}'
        % b", ".join([ECHOED, *(b'"k%d": 0' % number for number in range(50_000))]),
        "exponent-top": b'{"query": "q", "documents": ["d"], "top_n": 1e2}',
        "minus-nought": b'{"query": "q", "documents": ["d"], "top_n": -0}',
        "markup-model": b'{"query": "q", "documents": ["d"], "model": "</script>\\r\\nX: y"}',
        "unknown-keys": b'{"query": "q", "documents": ["d"], "__proto__": {"x": 1}, "": 0}',
    }
    for name, body in accepted.items():
        yield Hostile(f"body-{name}", body, (200, 400))
    kinds = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "\xff")
    kinds += ("multipart/form-data; boundary=x", "application/jsonx", "application/json, text/html")
    for kind in kinds:
        headers = {"Content-Type": kind}
        yield Hostile(f"type-{kind!r}", GOOD, (415,), headers=headers)
    for coding in ("gzip", "br", "x, identity", "deflate", "\xff"):
        headers = {**JSON, "Content-Encoding": coding}
        yield Hostile(f"coding-{coding!r}", GOOD, (415,), headers=headers)
    for at, seconds in enumerate(
        ("0", "-1", "nan", "-inf", "x", "", "1e-9", "1" * 400, "1,2", "1_0")
    ):
        headers = {**JSON, "X-Request-Timeout": seconds}
        yield Hostile(f"timeout-{at}", GOOD, (400, 504, 200), headers=headers)
    for at, name in enumerate(("x" * 65, "a b", "\xff", "../x", "", "{}", "a, b")):
        yield Hostile(f"id-{at}", GOOD, (200,), headers={**JSON, "X-Request-Id": name})
