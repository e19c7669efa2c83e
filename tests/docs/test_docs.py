"""The documents hold together: links lead somewhere, verbs exist, man pages build, problem codes are the server's."""
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def name(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_lead_to_files(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:|#", target):
            assert (page.parent / target.split("#")[0]).exists(), f"{name(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_make_verbs_named_in_a_page_exist(page):
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for verb in re.findall(r"`make ([a-z][a-z-]*)[ `]", page.read_text()):
        assert verb in verbs, f"{name(page)} names `make {verb}`"


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/man/*.scd")), ids=name)
def test_man_page_builds(page):
    run = subprocess.run(["scdoc"], stdin=page.open("rb"), capture_output=True)
    assert run.returncode == 0, run.stderr.decode()
    assert run.stdout.startswith(b".")


def test_problem_codes_of_the_server_are_those_of_the_specification():
    spec = (ROOT / "docs/spec/rest.md").read_text().split("## Problem codes")[1]
    in_spec = set(re.findall(r"`([a-z-]+)`", spec))
    in_code = set(re.findall(r'"([a-z]+(?:-[a-z]+)*)",\s*\d{3}', (ROOT / "server/api/rest/problem.c").read_text()))
    assert in_code == in_spec


def test_every_feature_row_names_a_command():
    rows = [line for line in (ROOT / "docs/features.md").read_text().splitlines() if re.match(r"\| \d+ \|", line)]
    assert len(rows) == 28
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[2] in ("works", "part", "not yet"), row
        assert cells[2] == "not yet" or "`" in cells[3], f"no command shows row {cells[0]}"
