"""A headless Chromium, driven over its debugging pipe: what a person does to a page, and sees."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Self

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--no-proxy-server", "--remote-debugging-pipe"),
    *("--force-prefers-reduced-motion", "--window-size=1000,1400"),
)


class Browser:
    """One window. Commands go in and answers come out as JSON between NUL bytes, on 3 and 4."""

    def __init__(self, profile: Path) -> None:
        """``profile``: an empty folder."""
        assert CHROMIUM is not None
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # The pipes are to have these numbers there, whatever they have here.
        script = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", CHROMIUM, *_FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._read, self._number = b"", 0
        self._session: dict[str, str] = {}
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        found = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": found["sessionId"]}
        self.complaints: list[str] = []
        """What the page said on its console, errors and refused loads among it."""
        self.send("Runtime.enable")
        self.send("Log.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def send(self, method: str, **parameters: Any) -> Any:
        """The result of one command of the DevTools protocol."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters, **self._session}
        os.write(self._out, json.dumps(command).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            if answer["method"] in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.complaints.append(json.dumps(answer["params"]))
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, url: str) -> None:
        """Go there, and wait until the page has asked the server who it is."""
        self.send("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """Of JavaScript, in the page."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression: str, seconds: float = 60.0) -> None:
        """Wait for something to be so in the page."""
        end = time.monotonic() + seconds
        while not self.value(expression):
            assert time.monotonic() < end, f"never: {expression}\n{self.complaints}"
            time.sleep(0.02)

    def drop(self, selector: str, files: list[Path]) -> None:
        """Let go of files over an element."""
        x, y = self.value(
            f"(r => [r.x + r.width / 2, r.y + 8])"
            f"(document.querySelector('{selector}').getBoundingClientRect())"
        )
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.send("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def write(self, selector: str, text: str, *, key: str | None = None) -> None:
        """Type into a field, and press a key."""
        self.value(f"document.querySelector('{selector}').focus()")
        self.send("Input.insertText", text=text)
        if key == "Enter":
            for kind in ("keyDown", "keyUp"):
                self.send(
                    *("Input.dispatchKeyEvent",),
                    type=kind,
                    key=key,
                    code=key,
                    windowsVirtualKeyCode=13,
                    text="\r",
                )

    def click(self, selector: str) -> None:
        """Once, on the first such element."""
        self.value(f"document.querySelector('{selector}').click()")

    def _next(self) -> Any:
        while b"\0" not in self._read:
            part = os.read(self._in, 65_536)
            assert part, "the browser has ended"
            self._read += part
        message, self._read = self._read.split(b"\0", 1)
        return json.loads(message)
