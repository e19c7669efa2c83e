#!/usr/bin/env python3
"""Runs every fuzz target of a build for some seconds and says what each did.

    tools/fuzz.py [--build build/fuzz] [--seconds 60] [--jobs 2] [NAME…]

New inputs go to build/corpus/<name>; seeds are fuzz/corpus/<name>. A finding is kept in build/findings/<name>/ and its
reproducer is printed. Ends with `fuzz: N passed, N failed`; exit 1 on any finding.
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def fuzz(build, target, seconds):
    name = target.name.removeprefix("fuzz_")
    grown, seeds, found = (ROOT / d / name for d in ("build/corpus", "fuzz/corpus", "build/findings"))
    for folder in (grown, found):
        folder.mkdir(parents=True, exist_ok=True)
    command = [str(target), f"-max_total_time={seconds}", "-max_len=65536", "-timeout=5", "-rss_limit_mb=2048",
               f"-artifact_prefix={found}/", "-print_final_stats=1", str(grown)]
    if seeds.is_dir():
        command.append(str(seeds))
    env = dict(os.environ, ASAN_OPTIONS="detect_leaks=1", UBSAN_OPTIONS="print_stacktrace=1")
    run = subprocess.run(command, capture_output=True, text=True, errors="replace", env=env, cwd=ROOT)
    runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", run.stderr)
    return name, run.returncode, int(runs.group(1)) if runs else 0, run.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build/fuzz")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    targets = sorted(t for t in (ROOT / args.build).glob("fuzz_*") if os.access(t, os.X_OK) and t.is_file())
    if args.names:
        targets = [t for t in targets if t.name.removeprefix("fuzz_") in args.names]
    if not targets:
        print(f"fuzz: no targets in {args.build}; build with PRESET=fuzz first", file=sys.stderr)
        return 1
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for name, code, runs, log in pool.map(lambda t: fuzz(args.build, t, args.seconds), targets):
            print(f"fuzz {name:<16} {runs:>12} runs  {'clean' if code == 0 else 'FINDING'}", flush=True)
            if code:
                failed += 1
                print(log[-4000:])
    print(f"fuzz: {len(targets) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
