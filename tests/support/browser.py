"""A real browser for tests: Chromium without a window, without a network, and without a trace afterwards.

It is told what to do in the DevTools protocol over two pipes, so that one start does for many pages and no port is
opened. What a page asks for and complains about is kept (``View.requests``, ``View.complaints``): a test that says
"nothing" of them has seen what the browser saw. Nothing here knows what is shown.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.leaks import adopt_orphans

_PATIENCE = 60.0  # seconds for one answer, on a machine that does other things too
_OPTIONS = (
    "--headless",
    "--no-sandbox",  # root has none, and the pages are ours
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--password-store=basic",
    "--remote-debugging-pipe",
    "about:blank",
)
# No name has an address, whoever asks, and no address is reached: not even one of this machine, or that one alone.
_ALONE = (
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--proxy-server=no-proxy.invalid:9",
    "--proxy-bypass-list=<-loopback>",
)
_LOOPBACK = ("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--no-proxy-server")
_KEYS = {"Enter": ("\r", 13), "Tab": ("", 9), "Escape": ("", 27)}
_OUTSIDE = ("Network.requestWillBeSent", "Network.webSocketCreated")
_COMPLAINTS = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")


def find() -> str | None:
    """The browser that can be started, if there is one."""
    return shutil.which("chromium")


class Browser:
    """A running browser; ``start`` makes one."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._numbers = itertools.count(1)
        self._received = b""
        self.events: list[dict[str, Any]] = []

    def ask(self, method: str, session: str = "", **params: Any) -> Any:
        """The result of a command; events that come meanwhile are kept.

        Raises ``AssertionError`` where the browser refuses, is gone, or does not answer.
        """
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        assert self._process.stdin
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        self._process.stdin.flush()
        deadline = time.monotonic() + _PATIENCE
        while True:
            answer = self._next(deadline)
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.events.append(answer)

    def wait(self, method: str, session: str) -> None:
        """Until an event has come: also one that came before."""
        deadline = time.monotonic() + _PATIENCE
        while not any(each.get("method") == method and each.get("sessionId") == session for each in self.events):
            self.events.append(self._next(deadline))

    def _next(self, deadline: float) -> dict[str, Any]:
        assert self._process.stdout
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser says nothing"
            data = os.read(self._process.stdout.fileno(), 1 << 20)
            assert data, "the browser has ended"
            self._received += data
        message, _, self._received = self._received.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    @contextmanager
    def show(self, page: Path | str) -> Iterator[View]:
        """A file, or what is at an address, in a window of its own."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable", session)
        view = View(self, session)
        view.resize(1280)
        self.events.clear()
        shown = self.ask("Page.navigate", session, url=page if isinstance(page, str) else page.as_uri())
        assert "errorText" not in shown, (page, shown)
        self.wait("Page.loadEventFired", session)
        try:
            yield view
        finally:
            self.ask("Target.closeTarget", targetId=target)


class View:
    """A document as the browser shows it."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def resize(self, width: int) -> None:
        """Make the window so many pixels wide; a narrow one is a phone's."""
        window = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        self._browser.ask("Emulation.setDeviceMetricsOverride", self._session, **window)

    def prefer(self, scheme: str) -> None:
        """Show it to somebody who likes it "dark" or "light"."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._browser.ask("Emulation.setEmulatedMedia", self._session, features=features)

    def run(self, function: str) -> Any:
        """What a JavaScript function without arguments returns, as JSON has it."""
        answer = self._browser.ask(
            "Runtime.evaluate", self._session, expression=f"({function})()", returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str, seconds: float = 20.0) -> Any:
        """What a JavaScript expression is once that is something, as JSON has it.

        Raises ``AssertionError`` if that does not come about in time.
        """
        return self.run(
            f"""() => new Promise((done, fail) => {{
                const end = performance.now() + {seconds * 1000};
                const look = () => {{
                    const found = {condition};
                    if (found) done(found);
                    else if (performance.now() > end) fail(new Error("not in time: " + {json.dumps(condition)}));
                    else requestAnimationFrame(look);
                }};
                look();
            }})"""
        )

    def press(self, key: str) -> None:
        """Press and release a key, by its name; a letter is typed."""
        text, code = _KEYS.get(key, (key, ord(key[0])))
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self._browser.ask("Input.dispatchKeyEvent", self._session, type="keyDown", text=text, **common)
        self._browser.ask("Input.dispatchKeyEvent", self._session, type="keyUp", **common)

    def metrics(self) -> dict[str, float]:
        """What the browser has measured of the page, such as ``LayoutDuration`` in seconds of the processor's time."""
        self._browser.ask("Performance.enable", self._session, timeDomain="threadTicks")
        found = self._browser.ask("Performance.getMetrics", self._session)["metrics"]
        return {item["name"]: item["value"] for item in found}

    def photograph(self, **clip: float) -> bytes:
        """What is painted, all of it or a part of it (``x``, ``y``, ``width``, ``height``), as PNG."""
        part = {"clip": {**clip, "scale": 1}} if clip else {}
        shot = self._browser.ask("Page.captureScreenshot", self._session, captureBeyondViewport=True, **part)
        return base64.b64decode(shot["data"])

    def pixel(self, x: float, y: float) -> tuple[int, int, int]:
        """The colour painted at a place of the document: red, green, blue."""
        image = self.photograph(x=int(x), y=int(y), width=1, height=1)
        data, at = b"", 8
        while at < len(image):
            size, kind = struct.unpack_from(">I4s", image, at)
            data += image[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
            at += size + 12
        # Every filter leaves the first pixel as it is; before it comes the filter's number (PNG, section 9).
        _filter, red, green, blue = zlib.decompress(data)
        return red, green, blue

    @property
    def requests(self) -> list[str]:
        """Every address that the document asked for, itself first."""
        return [found["request"]["url"] if "request" in found else found["url"] for found in self._events(*_OUTSIDE)]

    @property
    def complaints(self) -> list[Any]:
        """What the console shows: messages, warnings, and errors that nobody caught."""
        return self._events(*_COMPLAINTS)

    def _events(self, *methods: str) -> list[Any]:
        self.run("() => 0")  # whatever was said until now is here before this is answered
        events = self._browser.events
        return [e["params"] for e in events if e.get("sessionId") == self._session and e["method"] in methods]


@contextmanager
def start(folder: Path, *, loopback: bool = False) -> Iterator[Browser]:
    """A browser whose home is ``folder``; it and all that it has started are gone afterwards.

    With ``loopback`` it reaches what this machine serves on 127.0.0.1, and nothing else.
    """
    options = (*_OPTIONS[:-2], *(_LOOPBACK if loopback else _ALONE), *_OPTIONS[-2:])
    program = find()
    assert program, "there is no browser here"
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "TMPDIR": str(folder),
    } | {f"XDG_{kind}_HOME": str(folder / kind.lower()) for kind in ("CONFIG", "CACHE", "DATA", "STATE")}
    adopt_orphans()
    before = _children()
    with (folder / "stderr").open("wb") as log:
        # The protocol is spoken on 3 and 4.
        process = subprocess.Popen(
            ["sh", "-c", 'exec "$@" 3<&0 4>&1 </dev/null >&2', "sh", program, f"--user-data-dir={folder}", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            cwd=folder,
        )
    try:
        yield Browser(process)
    finally:
        with process:
            process.kill()
        while left := _children() - before:  # whoever has lost its parent is ours now
            for pid in left:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _children() -> set[int]:
    return {int(pid) for task in Path("/proc/self/task").glob("*/children") for pid in task.read_text().split()}
