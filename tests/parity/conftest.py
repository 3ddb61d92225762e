"""`--write-parity-table` writes docs/parity.md from the deltas that the golden tests of the same run measured."""

import pytest

from tests.parity.store import all_goldens
from tests.parity.table import TABLE, render

PROPERTY = "parity"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-parity-table", action="store_true", help="write docs/parity.md")


class ParityTable:
    """Collects the measured deltas, from xdist's workers too, and writes the page at the end."""

    def __init__(self) -> None:
        self.deltas: dict[tuple[str, str], float] = {}
        self.outcome = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            for name, value in report.user_properties:
                if name == PROPERTY:
                    case, layout, delta = value
                    self.deltas[case, layout] = delta

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        goldens = all_goldens()
        if exitstatus == 0 and {name for name, _ in self.deltas} == {golden.case.name for golden in goldens}:
            TABLE.write_text(render(goldens, self.deltas))
            self.outcome = f"wrote {TABLE}"
        else:
            self.outcome = f"{TABLE} not written: that needs all of tests/parity to run, and to pass"
            session.exitstatus = session.exitstatus or 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_line(self.outcome)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The page that is about to be replaced is not judged."""
    if config.getoption("--write-parity-table", default=False):
        judged = [item for item in items if item.name == "test_table_is_current"]
        config.hook.pytest_deselected(items=judged)
        items[:] = [item for item in items if item not in judged]


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--write-parity-table", default=False) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(ParityTable())
