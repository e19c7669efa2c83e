"""Every command of docs/migrate/secureesp8266.md, in its order, with a sketch that is moved by it."""

import os
import re
import subprocess

import pytest

import esp8266
import secureesp
from conftest import BUILD, ROOT

MAC = "84f3eb012345"
IMAGE = {v: esp8266.arduino("measure", v, ident=False) for v in ("00.00.08.g", "00.00.08.h")}


def blocks():
    """Lines of the shell blocks of each section, by its number."""
    text = (ROOT / "docs/migrate/secureesp8266.md").read_text()
    out = {}
    for part in re.split(r"(?m)^## ", text)[1:]:
        lines = [line for block in re.findall(r"```sh\n(.*?)```", part, re.S) for line in block.splitlines()]
        out[int(part[0])] = [line for line in lines if line.strip()]
    return out


@pytest.fixture
def shell(make_server, tmp_path):
    server = make_server().start()
    server.wait_ready()
    token = tmp_path / "token"
    token.write_text(server.token)
    token.chmod(0o600)
    env = {"PATH": f"{BUILD}:/usr/bin:/bin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8",
           "PAGURUS_SERVER": f"https://localhost:{server.ports['console']}", "PAGURUS_TOKEN_FILE": str(token),
           "PAGURUS_CA": str(server.data / "ca" / "root.pem"), "SERVER": f"localhost:{server.ports['device']}",
           **{n: os.environ[n] for n in ("ASAN_OPTIONS", "UBSAN_OPTIONS") if n in os.environ}}

    def run(line):
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
                              env=env, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout

    run.server, run.env, run.folder = server, env, tmp_path
    yield run


def test_a_fleet_moves_by_the_commands_of_the_page(shell):
    server, sections = shell.server, blocks()
    assert sorted(n for n, lines in sections.items() if lines) == [2, 3, 4, 5, 6]
    for version, image in IMAGE.items():
        (shell.folder / f"measure-{version}.bin").write_bytes(image)
    for line in sections[2] + sections[3]:
        shell(line)
    for line in sections[4]:
        said = shell(line)
        code = re.search(r"([0-9A-Z]{4,6}-){4,}\S+", said)
        if code:
            shell.env["CLAIM"] = code.group(0)
    files = {name: (shell.folder / name).read_bytes() for name in (f"{MAC}.key", f"{MAC}.crt", "ca.crt", "config.json")}
    sketch = secureesp.Sketch(MAC, shell.folder, files["ca.crt"], {}, images={image: v for v, image in IMAGE.items()})
    sketch.files["/config.json"] = files["config.json"]
    sketch.identity(files[f"{MAC}.crt"], files[f"{MAC}.key"])
    sketch.boot()
    assert sketch.config["downloadpath"] == "/esp8266/download"
    sketch.start()
    try:
        server.until(lambda: server.rest("GET", f"/devices/{MAC}")["running"]["version"] == "00.00.08.h", 60)
        server.until(lambda: server.rest("GET", f"/devices/{MAC}")["state"] == "up_to_date", 20)
        shown = "".join(shell(line) for line in sections[5])
        assert "up_to_date" in shown and "-65" in shown and "reboot" in shown
        for line in sections[6]:
            shell(line)
        items = server.until(lambda: (lambda c: c if len(c) == 7 and all(x["state"] == "done" for x in c) else None)(
            server.rest("GET", f"/devices/{MAC}/commands")["items"]), 60)
        assert [x["kind"] for x in reversed(items)] == ["firmware", "flash", "reboot", "config", "key", "cert", "reboot"]
        assert sketch.config["downloadserver"] == "localhost"
    finally:
        sketch.stop()
