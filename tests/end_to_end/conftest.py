"""Tests that record figures under `delivery` have them printed as a table, whether they pass or fail."""

import pytest

_COLUMNS = ("accepted", "results", "errors", "lost", "duplicates", "retried", "computed_twice", "gap_s")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = [
        (case, figures)
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, (case, figures) in dict(getattr(report, "user_properties", ())).items()
        if name == "delivery" and report.when == "call"
    ]
    if not rows:
        return
    width = max(len(case) for case, _ in rows)
    terminalreporter.section("requests while parts are killed with SIGKILL")
    terminalreporter.write_line("  ".join([" " * width, *_COLUMNS]))
    for case, figures in rows:
        cells = (f"{figures[column]:>{len(column)}.4g}" for column in _COLUMNS)
        terminalreporter.write_line("  ".join([case.ljust(width), *cells]))
