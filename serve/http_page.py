"""The page at ``/``: a few files beside this one, held in memory."""

from __future__ import annotations

from importlib import resources

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

__all__ = ["add_page"]

_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page/draw.js": ("draw.js", "text/javascript; charset=utf-8"),
    "/page/results.js": ("results.js", "text/javascript; charset=utf-8"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def add_page(app: FastAPI) -> list[str]:
    """Register the files; returns their paths. Nothing else can be asked for under them."""
    folder = resources.files(__package__) / "page"
    for path, (name, kind) in _FILES.items():
        _add(app, path, (folder / name).read_bytes(), kind)
    return list(_FILES)


def _add(app: FastAPI, path: str, content: bytes, kind: str) -> None:
    headers = {"Content-Type": kind, "Content-Security-Policy": _POLICY}

    async def file(request: Request) -> Response:
        return Response(content, headers=headers)

    app.add_route(path, file, methods=["GET"], include_in_schema=False)
