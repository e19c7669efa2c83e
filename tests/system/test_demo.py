"""The demo as a person starts it with --exit: every device comes to its end, and the last line says so."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PAG_BUILD", ROOT / "build" / "dev")).resolve()

pytestmark = pytest.mark.skipif(not shutil.which("xtensa-lx106-elf-gcc") or not shutil.which("mosquitto"),
                                reason="gcc-xtensa-lx106 or mosquitto is not installed")


def test_fleet_goes_from_one_signed_version_to_the_next():
    done = subprocess.run([sys.executable, ROOT / "examples/demo/demo.py", "--build", BUILD, "--demo", "--exit"],
                          check=False, timeout=300, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert re.fullmatch(r"demo: 50 devices, 45 confirmed, 4 refused as they must, 1 went back", last)
