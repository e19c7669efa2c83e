"""Safeguards of the device taken out one by one: the tests of its rules must notice each of them."""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIBS = ["-lcmocka", "-lcrypto"]
FLAGS = ["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O1", "-w"]

MUTANTS = {
    "a trial is jumped to without TRY": (
        "agent/boot.c", "    if (append(b, PAG_JOURNAL_TRY, (uint8_t)(b->j.last.count + 1), b->j.last.aux) != PAG_OK) {",
        "    b->j.last.count++;\n    if (false) {"),
    "a record counts without being read back": (
        "core/journal.c", "    for (unsigned pass = 0; pass < 2; pass++) {", "    for (unsigned pass = 0; pass < 0; pass++) {"),
    "the old manifest stays while a new image is written": (
        "agent/fetch.c", "pag_slot_unseal(a->port, other_slot(a))", "PAG_OK"),
    "the image is not hashed before the jump": (
        "agent/boot.c", "return memcmp(digest, image->digest, sizeof digest) == 0 ? PAG_OK : PAG_E_DIGEST;",
        "return PAG_OK;"),
    "CONFIRM b is not written": (
        "agent/trial.c", "        r = record_of(a, PAG_JOURNAL_CONFIRM, 1, (a->j.seq + 1) << PAG_BOOT_OUTCOME_SHIFT);",
        "        r = record_of(a, PAG_JOURNAL_EPOCH, 0, 0), r.epoch = a->run.epoch;"),
    "a failed image is forgotten": (
        "core/journal.c", "            return sequence <= j->failed[i].sequence;", "            return false;"),
}


def build_and_run(tree, source):
    program = tree / source.stem
    units = [str(p) for room in ("core", "agent") for p in sorted((tree / room).glob("*.c"))]
    units.append(str(ROOT / "host" / "crypto.c"))
    subprocess.run(["gcc", *FLAGS, f"-I{tree}", f"-I{ROOT}/include", f"-I{ROOT}", str(source), *units, *LIBS, "-o",
                    str(program)], check=True, timeout=120)
    env = {**os.environ, "PAG_SEED": "20260102"}
    return subprocess.run([program], capture_output=True, text=True, timeout=60, check=False, env=env)


@pytest.fixture
def tree(tmp_path):
    for room in ("core", "agent"):
        shutil.copytree(ROOT / room, tmp_path / room)
    return tmp_path


def test_the_rules_hold_for_the_device_as_it_is(tree):
    done = build_and_run(tree, ROOT / "tests" / "property" / "test_agent_invariants.c")
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("name", MUTANTS)
def test_a_safeguard_taken_out_is_noticed(tree, name):
    path, before, after = MUTANTS[name]
    text = (tree / path).read_text()
    assert text.count(before) == 1, f"{path} has changed: this mutant must follow"
    (tree / path).write_text(text.replace(before, after))
    done = build_and_run(tree, ROOT / "tests" / "property" / "test_agent_invariants.c")
    assert done.returncode != 0, f"survived: {name}"
    assert ": I" in done.stderr or "seal:" in done.stderr, done.stderr[-2000:]
