#!/usr/bin/env python3
"""Runs clang-tidy over the sources of a build, in parallel, and remembers which files were clean.

    tools/tidy.py --build build/dev --jobs 2 [FILE…]

A file is looked at again when its preprocessed text, its flags or a .clang-tidy changed. Exit 1 on any finding.
"""
import argparse
import concurrent.futures
import hashlib
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def fingerprint(entry, rules):
    """Hash of everything that decides what clang-tidy says about this file."""
    command = entry["command"].split(" -o ")[0] + " -E -P " + entry["file"]
    command = command.replace("ccache ", "", 1) if command.split()[0].endswith("ccache") else command
    text = subprocess.run(command, shell=True, cwd=entry["directory"], capture_output=True)
    return hashlib.sha256(text.stdout + rules + Path(entry["file"]).read_bytes()).hexdigest()


def tidy(build, entry, rules, seen):
    mark = seen / fingerprint(entry, rules)
    if mark.exists():
        return entry["file"], 0, ""
    run = subprocess.run(["clang-tidy", "--quiet", "-p", build, entry["file"]], capture_output=True, text=True)
    if run.returncode == 0:
        mark.touch()
    return entry["file"], run.returncode, run.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build/dev")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()
    rules = b"".join(f.read_bytes() for f in sorted(ROOT.glob("**/.clang-tidy")) if "build" not in f.parts)
    seen = ROOT / "build/tidy-clean"
    seen.mkdir(parents=True, exist_ok=True)
    wanted = {str(Path(f).resolve()) for f in args.files}
    entries = {e["file"]: e for e in json.loads((ROOT / args.build / "compile_commands.json").read_text())}
    todo = [e for f, e in sorted(entries.items()) if "/build/" not in f and (not wanted or f in wanted)]
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for name, code, text in pool.map(lambda e: tidy(args.build, e, rules, seen), todo):
            if code:
                bad += 1
                print(text.replace(str(ROOT) + "/", ""), end="")
    print(f"tidy: {len(todo)} files, {bad} with findings", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
