"""Hostile requests: files that are no image or video, or one that must not be opened."""

from __future__ import annotations

import struct
import zlib

from .hostile_request import asking, inline


def chunk(kind, data):
    whole = kind + data
    return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))


def png(width, height, *chunks, depth=8, colour=2):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def bmp(width, height, size=54):
    return b"BM" + struct.pack(
        "<IHHIIiiHHIIiiII", size, 0, 0, 54, 40, width, height, 1, 24, *[0] * 6
    )


def gif(width, height):
    image = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02D\x01\x00;"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0" * 6 + image


def jpeg(width, height):
    frame = struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\x00"
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + b"\xff\xd9"


def tiff(width, height, after=0, offset=8):
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (279, 1)]
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + rows + struct.pack("<I", after)
    return b"II*\0" + struct.pack("<I", offset) + directory


def webp(width, height):
    bits = (width - 1) | (height - 1) << 14
    data = b"VP8L" + struct.pack("<I", 5) + b"\x2f" + struct.pack("<I", bits) + b"\0"
    return b"RIFF" + struct.pack("<I", len(data) + 4) + b"WEBP" + data


BOMB = zlib.compress(b"\0" * 10_000_000, 9)
FILES = {
    "nothing": b"",
    "a-byte": b"\xff",
    "zeros": bytes(4_096),
    "text": b"this is no picture",
    "html": b"<!doctype html><script>alert(1)</script>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "svg-entity": b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>',
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd)(r)file\n",
    "pdf": b"%PDF-1.7\n1 0 obj<<>>endobj trailer<<>>",
    "zip": b"PK\x03\x04" + bytes(60),
    "pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    "psd": b"8BPS\0\x01" + bytes(40),
    "ico": b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0" + bytes(40),
    "icns": b"icns" + struct.pack(">I", 40) + bytes(32),
    "jpeg2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40),
    "avif": b"\0\0\0\x1cftypavif" + bytes(60),
    "heic": b"\0\0\0\x18ftypheic" + bytes(60),
    "ppm": b"P6 64 64 255\n" + bytes(64 * 64 * 3),
    "tga": b"\0\0\x02" + bytes(60),
    "fli": b"\0\0\0\0\x11\xaf" + bytes(140),
    "wmf": b"\xd7\xcd\xc6\x9a" + bytes(60),
    "png-signature": b"\x89PNG\r\n\x1a\n",
    "png-huge": png(60_000, 60_000, chunk(b"IDAT", BOMB)),
    "png-widest": png(2**31 - 1, 1, chunk(b"IDAT", b"x")),
    "png-zero": png(0, 0),
    "png-over-the-servers-pixels": png(10_000, 6_000, chunk(b"IDAT", BOMB)),
    "png-too-narrow": png(5_000, 4, chunk(b"IDAT", zlib.compress(bytes(15_001 * 4)))),
    "png-one-pixel": png(1, 1, chunk(b"IDAT", zlib.compress(b"\0\1\2\3"))),
    "png-no-data": png(64, 64),
    "png-bad-data": png(64, 64, chunk(b"IDAT", b"no deflate")),
    "png-short-data": png(64, 64, chunk(b"IDAT", zlib.compress(b"\0" * 99))),
    "png-bad-depth": png(64, 64, depth=77),
    "png-bad-colour": png(64, 64, colour=9),
    "png-text-bomb": png(64, 64, chunk(b"zTXt", b"a\0\0" + BOMB), chunk(b"zTXt", b"b\0\0" + BOMB)),
    "png-profile-bomb": png(64, 64, chunk(b"iCCP", b"a\0\0" + BOMB)),
    "png-chunk-beyond-the-end": png(64, 64)[:33] + struct.pack(">I", 2**31 - 1) + b"IDATx",
    "bmp-huge": bmp(50_000, 50_000),
    "bmp-negative": bmp(-64, -64),
    "bmp-no-pixels": bmp(64, 64),
    "bmp-no-palette": bmp(64, 64)[:28] + b"\x08" + bmp(64, 64)[29:],
    "gif-huge": gif(65_535, 65_535),
    "gif-zero": gif(0, 0),
    "gif-frame-outside": gif(64, 64)[:19] + b"," + struct.pack("<HHHHB", 60_000, 60_000, 9, 9, 0),
    "jpeg-huge": jpeg(65_500, 65_500),
    "jpeg-zero": jpeg(0, 0),
    "jpeg-no-scan": jpeg(64, 64),
    "jpeg-only-markers": b"\xff\xd8" + b"\xff\xe1\x00\x02" * 5_000,
    "tiff-huge": tiff(100_000, 100_000),
    "tiff-own-successor": tiff(64, 64, after=8),
    "tiff-directory-outside": tiff(64, 64, offset=2**31),
    "tiff-no-strips": tiff(64, 64),
    "webp-largest": webp(16_383, 16_383),
    "webp-no-data": webp(64, 64),
    "webp-short-riff": b"RIFF\xff\xff\xff\xffWEBPVP8 ",
}
PLAYLISTS = {
    "hls": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    "hls-http": b"#EXTM3U\n#EXTINF:1,\nhttp://169.254.169.254/latest/meta-data/\n",
    "concat": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
    "dash": b'<?xml version="1.0"?><MPD><BaseURL>http://127.0.0.1/</BaseURL></MPD>',
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
    "mp4-head": b"\0\0\0\x20ftypisom" + bytes(20),
    "mp4-size-zero": b"\0\0\0\0ftypisom" + bytes(20),
    "mkv-head": b"\x1aE\xdf\xa3" + b"\xff" * 60,
    "avi-head": b"RIFF\xff\xff\xff\x7fAVI LIST",
    "flv-head": b"FLV\x01\x05\0\0\0\x09" + b"\xff" * 60,
}


def file_cases():
    for name, data in FILES.items():
        yield asking(f"image-{name}", documents=[{"image": inline(data)}])
    for name, data in {**FILES, **PLAYLISTS}.items():
        # A GIF or a picture may be a video of one frame to a demuxer: then it is scored.
        yield asking(f"video-{name}", (400, 200), documents=[{"video": inline(data)}])
