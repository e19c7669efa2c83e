"""The status page in a real Chromium, over its debugging pipe: rows appear, nothing breaks the policy, no width overflows.

Skipped where there is no chromium.
"""

import json
import os
import select
import shutil
import subprocess
import time

import pytest

BROWSER = shutil.which("chromium")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium")


class Page:
    def __init__(self, folder, width):
        to_read, self.out = os.pipe()
        self.inp, to_write = os.pipe()

        def wire():
            a, b = os.dup(to_read), os.dup(to_write)
            os.dup2(a, 3)
            os.dup2(b, 4)

        self.process = subprocess.Popen(
            [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--ignore-certificate-errors",
             "--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"],
            preexec_fn=wire, pass_fds=(3, 4, to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(to_write)
        self.buffer, self.number, self.said, self.session = b"", 0, [], None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self.ask(domain + ".enable")
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 640)

    def ask(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 20
        while time.monotonic() < end:
            while b"\0" in self.buffer:
                raw, self.buffer = self.buffer.split(b"\0", 1)
                got = json.loads(raw)
                if got.get("id") == self.number:
                    assert "error" not in got, got
                    return got["result"]
                if got.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
                    self.said.append(got["params"])
            if select.select([self.inp], [], [], 1)[0]:
                self.buffer += os.read(self.inp, 65536)
        raise AssertionError("no answer to " + method)

    def value(self, expression):
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def close(self):
        self.process.terminate()
        self.process.wait(10)
        os.close(self.out)
        os.close(self.inp)


@pytest.mark.parametrize("width", [1280, 360])
def test_rows_appear_and_nothing_breaks_the_policy(server, tmp_path, width):
    server.call("POST", "/products", {"name": "meter", "chip": "posix", "hardware": ["posix"], "settings": {}})
    device = server.enroll("meter", f"84f3eb0a{width:04d}")
    page = Page(tmp_path / "browser", width)
    try:
        page.ask("Page.navigate", url=f"https://localhost:{server.ports['console']}/")
        server.until(lambda: page.value("document.readyState === 'complete' && !document.querySelector('#sign-in').hidden"))
        page.value(f"document.querySelector('#token').value = {json.dumps(server.token)};"
                   "document.querySelector('#sign-in').requestSubmit()")
        server.until(lambda: device.id in (page.value("document.querySelector('#devices').innerText") or ""))
        assert page.value("document.querySelector('#trouble').hidden")
        assert page.value("document.documentElement.scrollWidth <= window.innerWidth"), "no sideways scrolling"
        assert not page.said, page.said
    finally:
        page.close()
