"""Checking what was handed in: this project's public tests, run against the code of each archive.

    rows = check_submissions(["hw4-1.zip", "hw4-2_3.zip"], csv_file="marks.csv", jobs=2)
    print(table(rows))

The tests are those that `tests/exercises.toml` names, counted by the notebook's sections. Of an archive only the
package `hw4` is used; all else is the checker's own. Its code runs in sandboxes only (see `grading/sandbox.py`).

All tests are run in one process. If that does not come to its end, each section's are run in one of their own, with
half of the time: an endless loop or a crash in one leaves the others' results.
"""

import csv
import io
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path

from tabulate import tabulate
from tqdm import tqdm

from cs236781 import unpacking
from cs236781.exercises import Exercise, load_exercises
from cs236781.files import check_file_writable, write_whole
from cs236781.grading.sandbox import Limits, Outcome, Sandbox, namespaces, scratch_folder

PROJECT = Path(__file__).resolve().parents[2]

LIMITS = Limits(seconds=60, megabytes=2000)  # the tests take some 20 seconds

_MAX_REPORT_BYTES = 20_000_000  # some forty times what the tests' own report has

_OUT_OF_MEMORY = ("MemoryError", "allocate memory", "bad_alloc")


# What was found about an archive, as texts by their column's name: the students' ids, the archive, how many of each
# section's tests passed and of all, as in "3/5", and the status, which is "ok" if all were run to their end.
Row = dict[str, str]


@dataclass
class _Report:
    """What pytest-reportlog wrote about a run. Code that is tested can write there too."""

    set_up: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)
    problem: str = ""  # why tests cannot be found
    place: str = ""  # where the run was last; empty before the first test
    finished: bool = False
    out_of_memory: bool = False


def check_submissions(
    archives: Sequence[str | Path],
    *,
    csv_file: str | Path | None = None,
    jobs: int = 1,
    limits: Limits = LIMITS,
    project: str | Path = PROJECT,
) -> list[Row]:
    """Check archives. What is wrong with one is in its row, and the others are checked all the same.

    :param archives: zip files that prepare-submission made; the rows come in their order.
    :param csv_file: where the rows go as a table, too. On Ctrl-C it gets those that are done.
    :param jobs: archives checked at the same time.
    :param limits: for the tests of an archive; where those do not end, each section's get half of the time.
    :param project: where the tests and all that is not `hw4` come from.
    :raises OSError: an archive is missing, or the CSV file cannot be written (said before anything runs).
    :raises RuntimeError: the project's own code cannot be tested.
    """
    paths = [Path(archive) for archive in archives]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"there is no archive {path}")
    if csv_file is not None:
        check_file_writable(csv_file)
    checker = _Checker(Path(project), limits)
    checker.find_tests()

    rows: dict[int, Row] = {}
    with tqdm(total=len(paths), desc="checking", unit="archive") as bar, ThreadPoolExecutor(jobs) as executor:
        checks = {executor.submit(checker.check, path): index for index, path in enumerate(paths)}
        try:
            for done in as_completed(checks):
                rows[checks[done]] = done.result()
                bar.update()
        finally:
            checker.cancelled.set()  # all are done, or are not wanted any more
            executor.shutdown(cancel_futures=True)
            in_order = [rows[index] for index in sorted(rows)]
            if csv_file is not None:
                write_whole(csv_file, _csv(in_order).encode())
    return in_order


def isolation() -> str:
    """One line about what this system lets the checker cut off."""
    as_root = " You are root, whose processes are NOT counted: code could start them without end."
    unbounded = as_root if os.getuid() == 0 else ""
    options = namespaces()
    if not options:
        return f"The network was NOT cut off: this system has no unshare, or forbids it.{unbounded}"
    hidden = ", other processes out of reach" if "--pid" in options else ""
    return f"The network was cut off{hidden}.{unbounded}"


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text under a header."""
    return tabulate(rows, headers="keys", tablefmt="plain", disable_numparse=True)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0] if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


class _Checker:
    """The checks of one call of check_submissions."""

    def __init__(self, project: Path, limits: Limits) -> None:
        self.cancelled = threading.Event()
        self._project, self._limits = project, limits
        self._exercises = load_exercises(project)
        self._tests: dict[str, set[str]] = {}  # of each section

    def find_tests(self) -> None:
        """Find each section's tests, with the project's own code: an archive's could hide some, or add to them.

        :raises RuntimeError: the project's own code cannot be tested.
        """
        with scratch_folder() as folder:
            sandbox = Sandbox(folder, self.cancelled)
            self._lay_out(sandbox, self._project / "hw4")
            outcome, report = self._run_tests(sandbox, self._exercises, "--setup-plan", limits=LIMITS)
        for exercise in self._exercises:
            tests = {test for test in report.set_up if exercise.has_test(test)}
            self._tests[exercise.section] = self._tests.get(exercise.section, set()) | tests
        if report.problem or not all(self._tests.values()):
            reason = report.problem or " ".join(outcome.output.split())[-300:] or "it does not start"
            raise RuntimeError(f"the tests cannot be run on this project's own code: {reason}")

    def check(self, archive: Path) -> Row:
        """Unpack an archive and test its code."""
        named = unpacking.FOLDER.fullmatch(archive.stem)
        ids = named[1] if named else ""
        with scratch_folder() as folder:
            sandbox = Sandbox(folder, self.cancelled)
            try:
                ids = self._unpack(sandbox, archive)
            except unpacking.ArchiveError as error:
                return self._row(archive, ids, set(), f"broken archive: {error}")
            try:
                self._lay_out(sandbox, sandbox.folder / "archive" / f"hw4-{ids}" / "hw4")
                passed, status = self._test(sandbox)
            except OSError as error:  # the code may have removed the project, or filled the disk
                passed, status = set(), f"crashed: its tests cannot be run ({error})"
        return self._row(archive, ids, passed, status)

    def _test(self, sandbox: Sandbox) -> tuple[set[str], str]:
        """Run the tests in a sandbox that is laid out; returns those that passed, and the status."""
        outcome, report = self._run_tests(sandbox, self._exercises)
        problem = _problem(outcome, report)
        if not problem:
            return report.passed, "ok"
        if outcome.timed_out and not report.place:  # as it would for each section
            return set(), problem
        passed: set[str] = set()
        problems: dict[str, list[str]] = {}  # each with the sections that it kept from their end
        limits = replace(self._limits, seconds=self._limits.seconds / 2)
        for section, tests in self._tests.items():
            own = [exercise for exercise in self._exercises if exercise.section == section]
            outcome, report = self._run_tests(sandbox, own, limits=limits)
            passed |= report.passed & tests
            if problem := _problem(outcome, report):
                problems.setdefault(problem, []).append(section)
        every = len(self._tests)
        parts = [text if len(names) == every else f"{', '.join(names)}: {text}" for text, names in problems.items()]
        return passed, "; ".join(parts) or "ok"

    def _row(self, archive: Path, ids: str, passed: set[str], status: str) -> Row:
        counts = {section: f"{len(tests & passed)}/{len(tests)}" for section, tests in self._tests.items()}
        every = set().union(*self._tests.values())
        row = {"ids": ids, "archive": str(archive), **counts, "all": f"{len(every & passed)}/{len(every)}"}
        return {name: _printable(text) for name, text in (row | {"status": status[:1000]}).items()}

    def _unpack(self, sandbox: Sandbox, archive: Path) -> str:
        """Unpack into the sandbox's folder `archive`; returns the ids, or raises ArchiveError."""
        target = sandbox.folder / "archive"
        target.mkdir()
        command = [sys.executable, "-I", "-S", unpacking.__file__, str(archive.resolve()), str(target)]
        outcome = sandbox.run(command, self._limits)
        if outcome.timed_out:
            raise unpacking.ArchiveError("it takes too long to unpack")
        last = outcome.output.strip().rpartition("\n")[2]
        if outcome.status == unpacking.REFUSED:
            raise unpacking.ArchiveError(last)
        if outcome.status != 0:
            raise unpacking.ArchiveError(f"not unpacked ({last[:300]})")
        if not (target / f"hw4-{last}" / "hw4" / "__init__.py").is_file():
            raise unpacking.ArchiveError("it holds no package hw4")
        return last

    def _lay_out(self, sandbox: Sandbox, code: Path) -> None:
        """Make the project that is tested: this one, with its package hw4 replaced by the one in the folder code."""
        place = sandbox.folder / "project"
        # What an archive brings along compiled need not be what its source says.
        no_caches = shutil.ignore_patterns("__pycache__", "*.pyc", "*.so")
        place.mkdir()
        for name in ("tests", "cs236781"):
            if (self._project / name).is_dir():
                shutil.copytree(self._project / name, place / name, ignore=no_caches)
        for name in ("main.py", "pyproject.toml"):
            if (self._project / name).is_file():
                shutil.copyfile(self._project / name, place / name)
        shutil.copytree(code, place / "hw4", ignore=no_caches)

    def _run_tests(
        self, sandbox: Sandbox, exercises: Iterable[Exercise], *options: str, limits: Limits | None = None
    ) -> tuple[Outcome, _Report]:
        """Run the exercises' tests."""
        place = sandbox.folder / "project"
        command = [sys.executable, "-m", "pytest", "-o", "addopts=", "--import-mode=importlib", f"--rootdir={place}"]
        command += ["-p", "no:cacheprovider", "--tb=no", "--quiet", "--capture=no", *options]
        command += dict.fromkeys(test for exercise in exercises for test in exercise.tests)
        with tempfile.TemporaryFile() as written:  # without a name, so that the code can put no other file in its place
            number = written.fileno()
            outcome = sandbox.run(
                [*command, f"--report-log=/dev/fd/{number}"],
                limits or self._limits,
                working_dir=place,
                environment={"PYTHONPATH": str(place)},
                descriptors=[number],
            )
            written.seek(0)
            return outcome, _read_report(written.read(_MAX_REPORT_BYTES).decode(errors="replace"))


def _read_report(text: str) -> _Report:
    """Read what was written; lines that are none of pytest-reportlog's are passed over."""
    report = _Report()
    failed: set[str] = set()
    for line in text.split("\n"):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(entry, dict):
            continue
        kind, test, has_failed = entry.get("$report_type"), str(entry.get("nodeid")), entry.get("outcome") == "failed"
        if kind == "CollectReport" and has_failed:
            report.problem = report.problem or _reason(str(entry.get("longrepr")))
        elif kind == "TestReport":
            report.place = f" {'after' if entry.get('when') == 'teardown' else 'in'} {test}"
            if has_failed:
                failed.add(test)
            elif entry.get("outcome") == "passed" and entry.get("when") == "setup":
                report.set_up.add(test)
            elif entry.get("outcome") == "passed" and entry.get("when") == "call":
                report.passed.add(test)
        elif kind == "SessionFinish":
            report.finished = True
        report.out_of_memory |= has_failed and any(sign in line for sign in _OUT_OF_MEMORY)
    report.passed -= failed
    return report


def _reason(traceback: str) -> str:
    """The last line of what pytest tells about an exception, on one line and not too long."""
    lines = [line.removeprefix("E").strip() for line in traceback.splitlines() if line.startswith("E ")]
    last = [line for line in lines or traceback.splitlines() if line.strip()][-1:]
    return " ".join("".join(last).split())[:300]


def _problem(outcome: Outcome, report: _Report) -> str:
    """What kept a section's tests from their end; empty where nothing did."""
    place = report.place or " before the first test"
    if outcome.timed_out:
        return f"timed out{place}"
    if report.out_of_memory or any(sign in outcome.output for sign in _OUT_OF_MEMORY):
        return "out of memory"
    if report.problem:
        return f"not importable: {report.problem}"
    if not report.finished:
        how = f"signal {-outcome.status}" if outcome.status < 0 else f"exit status {outcome.status}"
        return f"crashed{place} ({how})"
    return ""
