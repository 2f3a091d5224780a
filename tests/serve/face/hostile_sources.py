"""Hostile requests: addresses, paths and texts in the place of an image."""

from __future__ import annotations

from .hostile_request import asking

NOT_INLINE = [
    *("", " ", "=", "====", "A", "AAAAA", "AA=A", "AAA\n=", "%", "<>", "é", "\ud83d\ude00", "\0"),
    *("data:", "data:,", "data:image/png,x", "data:;base64", "data:;base64,", "data:;base64,%"),
    *("data:image/png;base64,AAAA AAAA", "DATA:image/png;BASE64,!", "data:" + ";" * 9_999),
    *("data:image/png;charset=" + "x" * 9_999 + ";base64,AAAA", "data:text/html;base64,PGI+"),
    *("data:image/svg+xml;base64,PHN2Zy8+", "data:image/png;base64;base64,AAAA", "data:a;base64,A"),
]

METADATA = "/latest/meta-data/"
ADDRESSES = [
    *("127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "0", "0.0.0.0", "0x0", "00"),
    *("2130706433", "0x7f000001", "0x7F.0.0.1", "0177.0.0.1", "017700000001", "0x7f.1", "127.0x1"),
    *("127.0.0.1.", "127.0.0.01", "0127.0.0.1", "127.0.0.0x1", "2130706433.", "4294967295"),
    *("169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"),
    *("10.0.0.1", "192.168.0.1", "172.16.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    *(
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
    ),
    *("[0:0:0:0:0:ffff:a9fe:a9fe]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1%25eth0]"),
    *("[fe80::1%eth0]", "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]", "[::1", "::1", "[v1.x]", "[]"),
    *(
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a@127.0.0.1",
        "files.example@127.0.0.1",
        "127.0.0.1#",
    ),
    *("%31%32%37.0.0.1", "127%2e0%2e0%2e1", "\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021"),
    *("①②⑦.⓪.⓪.①", "127.0.0.1\\@files.example", "127.0.0.1:80\\@x", "\t127.0.0.1", "127.0.0.1\n"),
    *("[::ffff:169.254.169.254]", "[::ffff:0:127.0.0.1]", "1.1.1.1 @127.0.0.1", "-", ".", "..", ""),
]
URLS = [
    *(f"http://{address}{METADATA}" for address in ADDRESSES),
    *(f"https://{address}/" for address in ADDRESSES[:8]),
    *(
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "FILE:///etc/passwd",
        "file:/etc/passwd",
    ),
    *("ftp://127.0.0.1/", "gopher://127.0.0.1:6379/_x", "dict://127.0.0.1:11211/", "ldap://[::1]/"),
    *(
        "jar:http://127.0.0.1!/",
        "s3://bucket/key",
        "netdoc:///etc/passwd",
        "//127.0.0.1/x",
        "http:x",
    ),
    *(
        "http://127.0.0.1:22/",
        "http://localhost:0/",
        "http://localhost:65536/",
        "http://",
        "http:///",
    ),
    *("blob:http://localhost/x", "about:blank", "javascript:alert(1)", "view-source:http://[::1]/"),
]

PATHS = [
    *(
        "/etc/passwd",
        "/etc/shadow",
        "/proc/self/environ",
        "/proc/self/mem",
        "/dev/zero",
        "/dev/stdin",
    ),
    *("../../../../etc/passwd", "./x.png", "~/x.png", "~root/.ssh/id_rsa", "x.png", "C:\\x.png"),
    *(
        "\\\\host\\share\\x.png",
        "/etc/passwd\0.png",
        "/" + "a" * 5_000,
        "/..",
        "/",
        ".",
        "..",
        "/tmp",
    ),
    *(
        "/proc/self/fd/0",
        "/proc/self/root/etc/passwd",
        "/dev/fd/0",
        "/sys/kernel/notes",
        "%2fetc%2fx",
    ),
]


def source_cases():
    for at, text in enumerate(NOT_INLINE):
        yield asking(f"inline-{at}", documents=[{"image": text}])
    for at, text in enumerate(URLS + PATHS):
        part = {"type": "image_url", "image_url": {"url": text}}
        yield asking(f"source-{at}", documents=[{"content": [part]}])
