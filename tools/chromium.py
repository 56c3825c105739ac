"""A headless Chromium, driven through its DevTools protocol over a pair of pipes.

The protocol's other way in, a web socket, would need a package; the pipes need none. The pages of vitral are tested and
photographed with it. The protocol: https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# No sandbox: it cannot be had as root in a container, and only pages of our own are opened. The rest keeps the
# browser from asking its maker's servers for anything.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]
PATIENCE = 30.0


def find_chromium() -> str | None:
    """The browser's executable; None where there is none, or where its pipes cannot be handed over (Windows)."""
    if os.name != "posix":
        return None
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Chromium:
    """One browser with a profile of its own, both gone at the end of the `with` block.

    Raises:
        RuntimeError: the browser ended, did not answer within 30 seconds, or refused a command.
    """

    def __init__(self, executable: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        theirs_in, self._write = os.pipe()
        self._read, theirs_out = os.pipe()
        # The browser reads commands from descriptor 3 and writes answers to 4; the shell puts them there.
        shell = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        command = [executable, *FLAGS, f"--user-data-dir={self._folder.name}", "about:blank"]
        with (Path(self._folder.name) / "log.txt").open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", shell, "bash", *command],
                pass_fds=(theirs_in, theirs_out),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        os.close(theirs_in)
        os.close(theirs_out)
        self._rest = b""
        self._count = 0
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._write)
        os.close(self._read)
        self._folder.cleanup()

    def call(self, method: str, session: str | None = None, **values: Any) -> dict[str, Any]:
        """Give one command of the protocol, and return its result; events on the way are kept in `events`."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": values}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + PATIENCE
        while (answer := self._receive(until, method)).get("id") != self._count:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"Chromium refused {method}: {answer['error']['message']}")
        return answer["result"]

    def wait_for(self, event: str, session: str) -> None:
        """Wait until an event has happened to a page."""
        until = time.monotonic() + PATIENCE
        while not any(one["method"] == event and one.get("sessionId") == session for one in self.events):
            self.events.append(self._receive(until, event))

    def _receive(self, until: float, what: str) -> dict[str, Any]:
        """The next message, whatever it is: they end with a zero byte."""
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0.0, until - time.monotonic()))
            part = os.read(self._read, 1 << 20) if ready else b""
            if not part:
                log = (Path(self._folder.name) / "log.txt").read_text("utf-8", "replace").strip()
                reason = "ended" if ready else f"was silent for {PATIENCE:.0f} s"
                raise RuntimeError(f"Chromium {reason} while waiting for {what}: {log[-400:]}")
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


class Page:
    """A file opened in a window of its own.

    Args:
        browser: who opens it.
        file: the HTML file.
        width, height: of the window, CSS pixels.
        dark: whether the reader's system is dark.
        scale: device pixels a CSS pixel.
        before: JavaScript that runs before anything of the page.
    """

    def __init__(
        self,
        browser: Chromium,
        file: Path,
        *,
        width: int,
        height: int = 900,
        dark: bool = False,
        scale: float = 1.0,
        before: str = "",
    ) -> None:
        self.browser = browser
        self._target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=self._target, flatten=True)[
            "sessionId"
        ]
        for room in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{room}.enable")
        phone = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        if before:
            self.call("Page.addScriptToEvaluateOnNewDocument", source=before)
        self.browser.events.clear()
        self.call("Page.navigate", url=file.resolve().as_uri())
        browser.wait_for("Page.loadEventFired", self._session)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.browser.call("Target.closeTarget", targetId=self._target)

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        """Give a command of the protocol to this page."""
        return self.browser.call(method, self._session, **values)

    def evaluate(self, javascript: str) -> Any:
        """The value of an expression in the page, as JSON gives it."""
        answer = self.call("Runtime.evaluate", expression=javascript, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description"))
        return answer["result"].get("value")

    def happened(self, event: str) -> list[dict[str, Any]]:
        """What came with every such event since the page was asked for."""
        return [
            one["params"]
            for one in self.browser.events
            if one["method"] == event and one.get("sessionId") == self._session
        ]

    def picture(self, top: float = 0, height: float | None = None) -> bytes:
        """A PNG of the page's whole width, `height` CSS pixels from `top`, to its end unless said."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        height = min(size["height"] - top, height or size["height"])
        clip = {"x": 0, "y": top, "width": size["width"], "height": height, "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(shot["data"])
