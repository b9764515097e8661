"""A pytest plugin that writes down how each test went, as it goes, so that a run that is cut short still tells.

The open file whose number the environment's CHECK_REPORT holds gets one line an event: the event, the test's node id,
and a detail, between tabs. Events: collected, uncollectable, started, passed, failed, finished (pytest's exit status).
"""

import os

import pytest

VARIABLE = "CHECK_REPORT"

_file = int(os.environ.get(VARIABLE, -1))  # once: tests may change the environment


def write(event: str, test: str = "", detail: str = "") -> None:
    """Add a line to the report."""
    line = "\t".join([event, test, detail]) + "\n"
    os.write(_file, line.encode(errors="backslashreplace"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Write down what will be run."""
    for item in session.items:
        write("collected", item.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Write down why a file's tests cannot be found."""
    if report.failed:
        write("uncollectable", report.nodeid, reason(report.longreprtext))


def pytest_runtest_logstart(nodeid: str) -> None:
    """Write down which test is about to be run."""
    write("started", nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down how it went. A test can pass and fail after all, in what follows it."""
    if report.failed:
        write("failed", report.nodeid, reason(report.longreprtext))
    elif report.passed and report.when == "call":
        write("passed", report.nodeid)


def pytest_sessionfinish(exitstatus: int) -> None:
    """Write down that the run came to its end."""
    write("finished", detail=str(int(exitstatus)))


def reason(traceback: str) -> str:
    """The last line of what pytest tells about an exception, on one line and not too long."""
    lines = [line.removeprefix("E").strip() for line in traceback.splitlines() if line.startswith("E ")]
    last = [line for line in lines or traceback.splitlines() if line.strip()][-1:]
    return " ".join("".join(last).split())[:300]
