#!/usr/bin/env python3
"""Runs the suites of ./check one after the other, prints the seconds of each, sums what their runners counted.

    tools/check.py [--quick] [SUITE…]

A suite that fails prints the end of its log; whole logs are in build/check/. A missing peer fails its suite.
Last line: check: N passed, N failed
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "build/check"
JOBS = str(os.cpu_count() or 2)
PY = str(ROOT / "build/venv/bin/python")
PEERS = ["clang", "clang-format", "clang-tidy", "curl", "mosquitto", "mosquitto_pub", "mosquitto_sub", "nginx", "openssl",
         "scdoc", "shellcheck", "wget", "wrk", "xtensa-lx106-elf-gcc", "riscv64-unknown-elf-gcc"]

# The whole suite ends with the table of `make compat`: the same tests, run once. A part of it has no whole table.
PYTEST = f"PAG_BUILD=build/dev PYTHONPATH=tests/compat {PY} -m pytest -q -n {2 * int(JOBS)} --dist loadfile --durations=10"
SYSTEM = f"{PYTEST} -p table tests/system tests/compat"
SLOW = ("test_demo test_sim test_sim_personalities test_rotation test_agent_mutants test_broker test_broker_password "
        "test_server_gaps test_security_tls test_relay test_push test_fs_image").split()

# name, in --quick (False, True, or a shorter command), command. Commands run with sh in the root of the checkout.
SUITES = [
    ("layers", True, "python3 tools/layers.py"),
    ("format", True, "git ls-files -co --exclude-standard '*.[ch]' | xargs clang-format --dry-run -Werror"),
    ("shell", True, "shellcheck run check .ci/run tools/*.sh tools/hooks/pre-commit"),
    ("build", True, f"cmake --preset dev >build/configure-dev.log 2>&1 && cmake --build --preset dev -j {JOBS}"),
    ("c tests", True, f"ctest --preset dev -j {JOBS} -V"),
    ("vectors", True, f"{PY} tests/vectors/read_vectors.py"),
    ("docs", True, f"{PY} -m pytest -q tests/docs"),
    ("system", f"{PYTEST} tests/system tests/compat" + "".join(f" --ignore tests/system/{n}.py" for n in SLOW), SYSTEM),
    ("tidy", False, f"python3 tools/tidy.py --build build/dev --jobs {JOBS}"),
    ("device", False, "make -s device"),
    ("demo", False, "./run --demo --exit </dev/null"),
    ("crash-test", False, f"{PY} tests/crash/crash_test.py --build build/dev --kills 15"),
    ("fuzz", False, f"cmake --preset fuzz >build/configure-fuzz.log 2>&1 && cmake --build --preset fuzz -j {JOBS} && "
                    f"{PY} tools/fuzz.py --seconds 4"),
    ("bench-http", False, f"cmake --preset release -DPAG_WERROR=ON >build/configure-release.log 2>&1 && "
                          f"cmake --build --preset release -j {JOBS} && {PY} bench/http/run.py --build build/release --short && "
                          f"{PY} bench/http/polls.py --build build/release --short"),
]


def count(text, code):
    """Adds up what the runners in this log say; a suite without a runner counts as one."""
    passed = failed = 0
    for number in re.findall(r"\[  PASSED  \] (\d+) test\(s\)", text):  # cmocka
        passed += int(number)
    for number in re.findall(r"\[  FAILED  \] (\d+) test\(s\)", text):
        failed += int(number)
    for line in re.findall(r"^=*\s*((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s", text, re.M):  # pytest
        for number, word in re.findall(r"(\d+) (\w+)", line):
            passed += int(number) if word == "passed" else 0
            failed += int(number) if word in ("failed", "error", "errors", "skipped") else 0
    for good, bad in re.findall(r"^(?!compat:)[\w-]+: (\d+) passed, (\d+) failed$", text, re.M):  # compat's are pytest's
        passed, failed = passed + int(good), failed + int(bad)
    if passed + failed == 0:
        return (1, 0) if code == 0 else (0, 1)
    return passed, max(failed, 1) if code else failed


def run(name, command):
    log = LOGS / (name.replace(" ", "-") + ".log")
    began = time.monotonic()
    with log.open("wb") as out:
        code = subprocess.run(["sh", "-c", command], cwd=ROOT, stdout=out, stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL).returncode
    text = log.read_text(errors="replace")
    passed, failed = count(text, code)
    if code == 0 and failed:
        code = 1
    print(f"{name:<12} {time.monotonic() - began:7.1f} s  {passed:6} passed  {failed:4} failed", flush=True)
    if code:
        print("\n".join("    " + line for line in text.splitlines()[-40:]), flush=True)
    return passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("suites", nargs="*")
    args = parser.parse_args()
    LOGS.mkdir(parents=True, exist_ok=True)
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    gone = [peer for peer in PEERS if not shutil.which(peer)]
    total_passed, total_failed = 0, len(gone)
    if gone:
        print("peers missing:", *gone)
    for name, quick, command in SUITES:
        if (args.suites and name not in args.suites) or (args.quick and not quick):
            continue
        passed, failed = run(name, quick if args.quick and isinstance(quick, str) else command)
        total_passed, total_failed = total_passed + passed, total_failed + failed
    print(f"check: {total_passed} passed, {total_failed} failed")
    return 1 if total_failed else 0


if __name__ == "__main__":
    sys.exit(main())
