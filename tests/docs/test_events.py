"""docs/spec/events.md names every event the server can write, and no other; their members too."""
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TYPE = r"[a-z]+\.[a-z_]+"


VALUES = {"system", "stale", "data", "counter", "certificate", "addresses"}  # of members, not members


def sources():
    for path in sorted((ROOT / "server").glob("*/*.c")) + sorted((ROOT / "server").glob("*/*/*.c")):
        text = path.read_text()
        if "pag_store_event_add(" in text or "pag_store_audit_add(" in text or "_event(" in text or "audit(" in text:
            yield path, re.sub(r"pag_log_\w+\([^;]*;", ";", text)


def emitted():
    """String literals of the shape of a type, in code that writes events (log lines taken out)."""
    found = set()
    for path, text in sources():
        if path.parts[-2] == "app":
            found |= set(re.findall(rf'"({TYPE})"', text))
    return found


def test_the_list_is_what_the_code_can_write():
    spec = (ROOT / "docs/spec/events.md").read_text()
    listed = {t for row in re.findall(r"^\| (`.*?) \|", spec, re.M) for t in re.findall(rf"`({TYPE})`", row)}
    assert listed == emitted()


def test_types_are_written_by_use_cases_only():
    for path, text in sources():
        if path.parts[-2] != "app" and "server/store" not in str(path):
            assert "pag_store_event_add(" not in text and "pag_store_audit_add(" not in text, path


def test_every_member_is_documented_and_exists():
    spec = (ROOT / "docs/spec/events.md").read_text().split("## Products", 1)[1]
    documented = set(re.findall(r"`([a-z_]+)`", spec)) - VALUES
    written = {m for path, text in sources() if path.parts[-2] == "app"
               for m in re.findall(r'PAG_F_[A-Z0-9]+\(\s*"([a-z_]+)"', text)}
    assert documented == written
