"""What tests here share with those of tests/system: servers, devices, images. Import it before anything of theirs."""

import pathlib
import subprocess
import sys

SYSTEM = pathlib.Path(__file__).resolve().parents[1] / "system"
if str(SYSTEM) not in sys.path:
    sys.path.append(str(SYSTEM))

from conftest import BUILD, ROOT, make_server  # noqa: E402, F401


def run(*words, want=0, text=True, stdin=None, cwd=None, env=None, seconds=60):
    """A program to its end; the process with what it said."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=text, timeout=seconds, check=False, cwd=cwd,
                          env=env, input=stdin, stdin=subprocess.DEVNULL if stdin is None else None)
    assert want is None or done.returncode == want, (words, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return done
