"""Pytest hooks that say, at the end of a test run, which exercises are done and which are to do.

An exercise that is not written raises NotImplementedError with its name. A test that fails for this reason, directly or
in a process that it started, still fails, but is shown as one of those to do, without a traceback.
"""

from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

from cs236781.exercises import NOT_WRITTEN, Exercise, load_exercises, marked_in, not_written

ROOT = Path(__file__).resolve().parents[1]
EXERCISES = load_exercises(ROOT)
TO_DO = not_written(ROOT, EXERCISES)


def exercise_in(error: BaseException | None, stderr: str) -> str | None:
    """The exercise to do that an error names, or one that led to it, or a process's last words; None if none does."""
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    named = [name for text in [*texts, stderr] for name in marked_in(text) if name in TO_DO]
    return named[0] if named else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and call.excinfo is not None and (name := exercise_in(call.excinfo.value, report.capstderr)):
        report.exercise = name
        report.longrepr = f"NotImplementedError: {name}: {NOT_WRITTEN}"
    return report


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    if report.failed and hasattr(report, "exercise"):
        return "to do", "t", ("TO DO", {"yellow": True})
    return None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
    yield  # the exercises come last
    reports = [
        report
        for category, reports in terminalreporter.stats.items()
        for report in reports
        if category and isinstance(report, (pytest.TestReport, pytest.CollectReport))
    ]
    lines = [line for exercise in EXERCISES if (line := summary_line(exercise, reports))]
    if any(not line.startswith("done") for line in lines):
        terminalreporter.section("exercises")
        terminalreporter.write_line("\n".join(lines))
    elif lines:
        terminalreporter.write_line(f"exercises: {len(lines)} of {len(EXERCISES)} are done")


def summary_line(exercise: Exercise, reports: Sequence[pytest.TestReport | pytest.CollectReport]) -> str | None:
    """What a test run says of an exercise; nothing if it is written and none of its tests was run."""
    if exercise.name in TO_DO:
        waiting = {report.nodeid for report in reports if getattr(report, "exercise", None) == exercise.name}
        stopped = f"{len(waiting)} tests stop here" if waiting else ""
        return f"to do   {exercise.name:<44} {TO_DO[exercise.name]:<19} {stopped}".rstrip()
    files = {test.partition("::")[0] for test in exercise.tests}
    own = [report for report in reports if exercise.has_test(report.nodeid) or report.nodeid in files]
    failed = {report.nodeid for report in own if report.failed and not hasattr(report, "exercise")}
    if failed:
        return f"wrong   {exercise.name:<44} {len(failed)} of its {len({report.nodeid for report in own})} tests fail"
    if others := sorted({report.exercise for report in own if hasattr(report, "exercise")}):
        return f"waits   {exercise.name:<44} for {', '.join(others)}"
    return f"done    {exercise.name}" if own else None
