"""`make compat`: which client in which version has which case, and how it ended.

A test says whom it stands for:

    @pytest.mark.client("ESP8266httpUpdate", "2.7.4", "304 at the latest")
    def test_x(server): …

    @pytest.mark.parametrize("core", [pytest.param("2.3.0", marks=pytest.mark.client("ESP8266httpUpdate", "2.3.0", "no MD5"))])

It may stand for several. clients.tsv is the list of clients and versions: one without a case fails the run, and so
does a case for a client that is not listed. What every client may trip over is in traps.tsv with the names of its tests,
which need no mark. Loaded with -p table by `make compat`; elsewhere the marks say nothing.
"""

import pathlib

import pytest

LIST = pathlib.Path(__file__).with_name("clients.tsv")
TRAPS = pathlib.Path(__file__).with_name("traps.tsv")


def rows(path):
    """The lines of a list below its head, as three columns each."""
    lines = path.read_text().splitlines()
    out = [line.split("\t") for line in lines if line and not line.startswith("#")]
    wrong = [row for row in out if len(row) != 3]
    if wrong:
        raise pytest.UsageError(f"{path.name}: three columns a line are wanted, not {wrong[0]}")
    return out[1:]


def traps():
    """(number, what it is, ["file::test", …]) of each trap, in its order."""
    return [(number, text, names.split(" ")) for number, text, names in rows(TRAPS)]


def listed():
    """The (client, version) pairs that must have a case, in the order of the table."""
    return [(client, version) for client, version, _ in rows(LIST)] + [("any: trap", number) for number, _, _ in traps()]


def mark_traps(items):
    wanted = {}
    for number, text, names in traps():
        for name in names:
            wanted.setdefault(name, []).append((number, text))
    for item in items:
        for number, text in wanted.get(f"{item.path.name}::{item.originalname}", ()):
            item.add_marker(pytest.mark.client("any: trap", number, text))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    mark_traps(items)
    for item in items:
        for mark in item.iter_markers("client"):
            if len(mark.args) != 3:
                raise pytest.UsageError(f"{item.nodeid}: client(name, version, case), not {mark.args}")
            item.user_properties.append(("client", list(mark.args)))


class Table:
    """What the tests said, by client and version. Lives where the reports come together."""

    def __init__(self):
        self.rows = {}

    def pytest_runtest_logreport(self, report):
        if report.when != "call" and report.passed:
            return
        for name, value in report.user_properties:
            if name == "client":
                client, version, case = value
                self.rows.setdefault((client, version), []).append((case, report.outcome))

    def pytest_terminal_summary(self, terminalreporter):
        known = listed()
        lines = []
        for pair in known + sorted(set(self.rows) - set(known)):
            for case, outcome in sorted(set(self.rows.get(pair, [("", "no case")]))):
                lines.append((*pair, case, outcome if pair in known else "not in clients.tsv"))
        if not self.rows:
            return
        width = [max(len(line[i]) for line in lines) for i in range(3)]
        for client, version, case, outcome in lines:
            terminalreporter.write_line(f"{client:<{width[0]}}  {version:<{width[1]}}  {case:<{width[2]}}  {outcome}")
        passed = sum(line[3] == "passed" for line in lines)
        self.failed = len(lines) - passed
        terminalreporter.write_line(f"compat: {passed} passed, {self.failed} failed")

    failed = 0

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        bad = (set(listed()) ^ set(self.rows)) or any(o != "passed" for row in self.rows.values() for _, o in row)
        if bad and session.exitstatus == 0:
            session.exitstatus = 1


def pytest_configure(config):
    config.addinivalue_line("markers", "client(name, version, case): stands for this row of clients.tsv")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Table(), "compat-table")
