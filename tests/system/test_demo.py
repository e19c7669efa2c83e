"""The demo as a person starts it: every device comes to its end, the last line says so, a second run goes on from there,
and what is in the way is said."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PAG_BUILD", ROOT / "build" / "dev")).resolve()
DEMO = [sys.executable, ROOT / "examples/demo/demo.py", "--build", BUILD]

pytestmark = pytest.mark.skipif(not shutil.which("xtensa-lx106-elf-gcc") or not shutil.which("mosquitto"),
                                reason="gcc-xtensa-lx106 or mosquitto is not installed")


def run(*words, timeout=300):
    return subprocess.run([*DEMO, *map(str, words)], check=False, timeout=timeout, capture_output=True, text=True)


def children(pid):
    """Processes below pid, grandchildren included."""
    found = []
    for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for one in (thread / "children").read_text().split():
            found += [int(one), *children(int(one))]
    return found


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait(check, seconds):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def test_fleet_goes_from_one_signed_version_to_the_next():
    done = run("--demo", "--exit")
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert re.fullmatch(r"demo: 74 devices, 69 confirmed, 4 refused as they must, 1 went back", last)


def test_second_run_in_the_same_folder_brings_the_same_fleet_to_the_next_version(tmp_path):
    data = tmp_path / "var"
    first = run("--exit", "--data", data, "--devices", 20)
    assert first.returncode == 0, first.stdout + first.stderr
    before = json.loads((data / "demo/fleet.json").read_text())["devices"]
    second = run("--exit", "--data", data)
    assert second.returncode == 0, second.stdout + second.stderr
    assert second.stdout.strip().splitlines()[-1] == first.stdout.strip().splitlines()[-1]
    after = json.loads((data / "demo/fleet.json").read_text())["devices"]
    assert [(d["mac"], d["version_after"]) for d in before] == [(d["mac"], d["version_before"]) for d in after]
    assert {d["version_after"] for d in after if d["outcome"] == "confirmed"} == {"3.0.0"}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_however_it_ends_nothing_is_left_running_and_the_next_run_starts_afresh(tmp_path, how):
    data = tmp_path / "var"
    with subprocess.Popen([*DEMO, "--exit", "--data", data, "--devices", "20"], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL,
                          # a suite that was started in the background ignores SIGINT, and so would its children
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) as demo:
        wait(lambda: (data / "demo/fleet.log").exists(), 60)
        below = children(demo.pid)
        assert len(below) >= 3  # daemon, broker, fleet
        demo.send_signal(how)
        assert demo.wait(30) == (-9 if how == signal.SIGKILL else 128 + how)
    wait(lambda: not any(alive(pid) for pid in below), 20)
    if how == signal.SIGKILL:
        done = run("--exit", "--data", data, "--devices", 20)
        assert done.returncode == 0 and "interrupted" in done.stdout, done.stdout + done.stderr
        assert len(list(tmp_path.glob("var.interrupted-*"))) == 1


def test_port_that_is_taken_is_named_and_nothing_is_made(tmp_path):
    with socket.socket() as busy:
        try:
            busy.bind(("0.0.0.0", 8444))
            busy.listen()
        except OSError:
            pass  # somebody else has it: just as well
        done = run("--data", tmp_path / "var")
    assert done.returncode == 1 and "8444 (device)" in done.stderr and "--demo" in done.stderr
    assert not (tmp_path / "var").exists()


def test_folder_that_cannot_be_written_is_said_without_a_traceback():
    done = run("--exit", "--data", "/proc/nowhere/var")
    assert done.returncode == 1 and done.stderr.startswith("demo: failed: ") and "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["--devices", "5"], ["--devices", "many"], ["--threads", "0"], ["--nonsense"]])
def test_bad_usage_is_exit_2(words):
    assert run(*words).returncode == 2
