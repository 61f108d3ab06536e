"""A headless Chromium over its DevTools protocol: what the page's tests need of it, and no more."""

import json
import shutil
import subprocess
import time
from base64 import b64decode
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--remote-debugging-port=0", "--window-size=1280,900",
)  # fmt: skip
CODES = {
    "Tab": 9, "Enter": 13, " ": 32, "PageUp": 33, "PageDown": 34, "End": 35, "Home": 36,
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40,
}  # fmt: skip


def chromium() -> str | None:
    """Where it is installed, if it is."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


class Browser:
    """One Chromium with a profile of its own; ``page`` opens tabs."""

    def __init__(self, profile: Path) -> None:
        command = [chromium() or "chromium", *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        told = profile / "DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not (told.exists() and len(told.read_text().split()) == 2):
            assert self._process.poll() is None and time.monotonic() < deadline, "Chromium did not start"
            time.sleep(0.05)
        port, path = told.read_text().split()
        self._root = f"ws://127.0.0.1:{port}"
        self._sockets = ExitStack()
        self._control = self._tab(path)

    def open(self, url: str, *, width: int = 1280, height: int = 900, **media: str) -> "Tab":
        """A tab that shows the address; ``media`` are features such as ``prefers_color_scheme``."""
        target = self._control.send("Target.createTarget", url="about:blank")["targetId"]
        tab = self._tab(f"/devtools/page/{target}")
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            tab.send(f"{domain}.enable")
        tab.resize(width, height)
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
        tab.send("Emulation.setEmulatedMedia", features=features)
        tab.send("Page.navigate", url=url)
        tab.wait("document.readyState === 'complete' && location.href !== 'about:blank'")
        return tab

    def close(self) -> None:
        self._control.send("Browser.close")
        self._process.wait(20)
        self._sockets.close()

    def _tab(self, path: str) -> "Tab":
        # Without pings: a tab that draws in software is slow to answer them.
        socket = connect(self._root + path, max_size=None, ping_interval=None)
        return Tab(self._sockets.enter_context(socket))


class Tab:
    """One page, what it complained of, and what it asked for."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._number = socket, 0
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(60))
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self._note(message.get("method"), message.get("params", {}))

    def js(self, expression: str) -> Any:
        """The value of an expression, awaited."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not self.js(f"Boolean({condition})"):
            assert time.monotonic() < deadline, (
                f"never came true: {condition}; {self.js('document.body.innerText')}"
            )
            time.sleep(0.05)

    def press(self, *keys: str) -> None:
        """Keys by their names, letters and digits as themselves."""
        for key in keys:
            about = {"key": key, "windowsVirtualKeyCode": CODES.get(key, ord(key[0].upper()))}
            text = "\r" if key == "Enter" else key if len(key) == 1 else None
            down = {**about, "type": "keyDown", "text": text} if text else {**about, "type": "rawKeyDown"}
            self.send("Input.dispatchKeyEvent", **down)
            self.send("Input.dispatchKeyEvent", **about, type="keyUp")

    def type(self, text: str) -> None:
        self.send("Input.insertText", text=text)

    def drop(self, *files: Path, at: tuple[float, float]) -> None:
        """Drags files in from outside and lets them go there."""
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.send("Input.dispatchDragEvent", type=kind, x=at[0], y=at[1], data=data)

    def choose(self, selector: str, *files: Path) -> None:
        """What a file dialogue would do."""
        node = self.send(
            "DOM.querySelector", nodeId=self.send("DOM.getDocument")["root"]["nodeId"], selector=selector
        )
        self.send("DOM.setFileInputFiles", nodeId=node["nodeId"], files=[str(file) for file in files])

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """The mouse, held down from one place to the other."""
        self.send(
            "Input.dispatchMouseEvent",
            type="mousePressed",
            x=start[0],
            y=start[1],
            button="left",
            clickCount=1,
        )
        for share in (0.3, 0.7, 1.0):
            x, y = (a + (b - a) * share for a, b in zip(start, end, strict=True))
            self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)
        self.send(
            "Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], button="left", clickCount=1
        )

    def resize(self, width: int, height: int) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def screenshot(self) -> bytes:
        """PNG of what is in the window."""
        return b64decode(self.send("Page.captureScreenshot", format="png")["data"])

    def _note(self, method: str | None, about: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(about["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(about["args"]))
        elif method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")
