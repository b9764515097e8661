"""Checking what was handed in: this project's public tests, run against the code of each archive.

    rows = check_submissions(["hw4-1.zip", "hw4-2_3.zip"], csv_file="marks.csv", jobs=2)
    print(table(rows))

The code in an archive runs in sandboxes only (see `cs236781/sandbox.py`). The tests and all else but the package
`hw4` are the checker's own; of the archive, nothing but its `hw4` is used. All tests are run in one process; where
that does not come to its end, each exercise is run in one of its own, with half of the time, so that an endless loop or
a crash in one leaves the others' results.
"""

import csv
import io
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from cs236781.files import check_file_writable, write_whole
from cs236781.grading import pytest_report, unpacking
from cs236781.grading.sandbox import Limits, Outcome, Sandbox, namespaces, scratch_folder

PROJECT = Path(__file__).resolve().parents[2]

# The exercises, and where their tests begin: files, or files::classes. Only tests that are quick.
EXERCISES = {
    "data": ["tests/hw4/test_rl_data.py"],
    "agent": ["tests/hw4/test_rl_pg.py"],
    "losses": ["tests/hw4/test_losses.py"],
    "training": ["tests/hw4/test_training.py"],
    "actor-critic": ["tests/hw4/test_rl_ac.py"],
    "figures": ["tests/hw4/test_published_figures.py"],
}

LIMITS = Limits(seconds=60, megabytes=2000)  # the tests take some 20 seconds

_MAX_REPORT_BYTES = 4_000_000  # some forty times what the tests' own report has

_OUT_OF_MEMORY = ("MemoryError", "allocate memory", "bad_alloc")


@dataclass(frozen=True)
class Row:
    """What was found about an archive.

    :param ids: the students' ids, joined by underscores; empty where not even the archive's name gives them.
    :param passed: for each exercise, how many of its tests passed.
    :param status: "ok", or what kept tests from being run to their end.
    """

    archive: Path
    ids: str
    passed: dict[str, int]
    totals: dict[str, int]
    status: str

    def cells(self) -> list[str]:
        """The row as texts, in the order of header()."""
        counts = [f"{self.passed[name]}/{total}" for name, total in self.totals.items()]
        whole = f"{sum(self.passed.values())}/{sum(self.totals.values())}"
        return [self.ids, _printable(str(self.archive)), *counts, whole, self.status]


@dataclass
class _Report:
    """What pytest_report wrote about a run. Code that is tested can write there too."""

    collected: list[str] = field(default_factory=list)
    passed: set[str] = field(default_factory=set)
    problem: str = ""
    last: str = ""  # the test that was started last
    started: bool = False
    finished: bool = False
    out_of_memory: bool = False


def check_submissions(
    archives: Sequence[str | Path],
    *,
    csv_file: str | Path | None = None,
    jobs: int = 1,
    limits: Limits = LIMITS,
    exercises: Mapping[str, Sequence[str]] = EXERCISES,
    project: str | Path = PROJECT,
) -> list[Row]:
    """Check archives. What is wrong with one is in its row, and the others are checked all the same.

    :param archives: zip files that prepare-submission made; the rows come in their order.
    :param csv_file: where the rows go as a table, too; what is there when Ctrl-C comes is written as well.
    :param jobs: archives checked at the same time.
    :param limits: for the tests of an archive; where those do not end, each exercise's get half of the time.
    :param exercises: for each exercise, where its tests begin.
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
    cancelled = threading.Event()
    checker = _Checker(Path(project), exercises, limits, cancelled)
    checker.count_tests()

    rows: dict[int, Row] = {}
    with tqdm(total=len(paths), desc="checking", unit="archive") as bar, ThreadPoolExecutor(jobs) as executor:
        checks = {executor.submit(checker.check, path): index for index, path in enumerate(paths)}
        try:
            for done in as_completed(checks):
                rows[checks[done]] = done.result()
                bar.update()
        except BaseException:
            cancelled.set()
            executor.shutdown(wait=True, cancel_futures=True)
            raise
        finally:
            in_order = [rows[index] for index in sorted(rows)]
            if csv_file is not None:
                write_whole(csv_file, _csv(in_order, list(exercises)).encode())
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
    if not rows:
        return ""
    lines = [header(list(rows[0].totals)), *[row.cells() for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join("  ".join(line).rstrip() for line in padded)


def header(exercises: Sequence[str]) -> list[str]:
    """The names of a row's cells."""
    return ["ids", "archive", *exercises, "all", "status"]


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _csv(rows: Sequence[Row], exercises: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header(exercises))
    writer.writerows(row.cells() for row in rows)
    return text.getvalue()


class _Checker:
    """The checks of one call of check_submissions."""

    def __init__(
        self, project: Path, exercises: Mapping[str, Sequence[str]], limits: Limits, cancelled: threading.Event
    ) -> None:
        self._project = project
        self._exercises = exercises
        self._limits = limits
        self._cancelled = cancelled
        self._tests: dict[str, set[str]] = {}

    def count_tests(self) -> None:
        """Find each exercise's tests, with the project's own code: an archive's could hide some, or add to them.

        :raises RuntimeError: the project's own code cannot be tested.
        """
        with scratch_folder() as folder:
            sandbox = Sandbox(folder, self._cancelled)
            self._lay_out(sandbox, self._project / "hw4")
            outcome, report = self._run_tests(sandbox, self._exercises, "--collect-only", limits=LIMITS)
        for name, prefixes in self._exercises.items():
            self._tests[name] = {test for test in report.collected if test.startswith(tuple(prefixes))}
        if report.problem or not all(self._tests.values()):
            reason = report.problem or " ".join(outcome.output.split())[-300:] or "it does not start"
            raise RuntimeError(f"the tests cannot be run on this project's own code: {reason}")

    def check(self, archive: Path) -> Row:
        """Unpack an archive and test its code."""
        named = unpacking.FOLDER.fullmatch(archive.stem)
        ids = named[1] if named else ""
        with scratch_folder() as folder:
            sandbox = Sandbox(folder, self._cancelled)
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
        if outcome.timed_out and not report.started:  # as it would for each exercise
            return set(), problem
        passed: set[str] = set()
        problems: dict[str, list[str]] = {}  # each with the exercises that it kept from their end
        limits = replace(self._limits, seconds=self._limits.seconds / 2)
        for name in self._exercises:
            outcome, report = self._run_tests(sandbox, [name], limits=limits)
            passed |= report.passed & self._tests[name]
            if problem := _problem(outcome, report):
                problems.setdefault(problem, []).append(name)
        every = len(self._exercises)
        parts = [text if len(names) == every else f"{', '.join(names)}: {text}" for text, names in problems.items()]
        return passed, "; ".join(parts) or "ok"

    def _row(self, archive: Path, ids: str, passed: set[str], status: str) -> Row:
        counts = {name: len(tests & passed) for name, tests in self._tests.items()}
        totals = {name: len(tests) for name, tests in self._tests.items()}
        return Row(archive, ids, counts, totals, _printable(status[:1000]))

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
        (sandbox.folder / "plugin").mkdir()
        shutil.copy(pytest_report.__file__, sandbox.folder / "plugin" / "pytest_report.py")

    def _run_tests(
        self, sandbox: Sandbox, names: Iterable[str], *options: str, limits: Limits | None = None
    ) -> tuple[Outcome, _Report]:
        """Run the tests of the exercises named."""
        place = sandbox.folder / "project"
        command = [sys.executable, "-m", "pytest", "-o", "addopts=", "--import-mode=importlib", f"--rootdir={place}"]
        command += ["-p", pytest_report.__name__.rpartition(".")[2], "-p", "no:cacheprovider", "--tb=no", "--quiet"]
        command += ["--show-capture=no", *options]
        command += [prefix for name in names for prefix in self._exercises[name]]
        with tempfile.TemporaryFile() as written:
            number = written.fileno()
            environment = {
                pytest_report.VARIABLE: str(number),
                "PYTHONPATH": f"{sandbox.folder / 'plugin'}:{place}",
            }
            outcome = sandbox.run(
                command, limits or self._limits, working_dir=place, environment=environment, descriptors=[number]
            )
            written.seek(0)
            return outcome, _read_report(written.read(_MAX_REPORT_BYTES).decode(errors="replace"))


def _read_report(text: str) -> _Report:
    """Read what was written; lines that are none of the plugin's are passed over."""
    report = _Report()
    failed: set[str] = set()
    for line in text.split("\n"):
        event, _, rest = line.partition("\t")
        test, _, detail = rest.partition("\t")
        if event == "collected":
            report.collected.append(test)
        elif event == "uncollectable":
            report.problem = report.problem or detail
        elif event == "started":
            report.started, report.last = True, test
        elif event == "passed":
            report.passed.add(test)
        elif event == "failed":
            failed.add(test)
        elif event == "finished":
            report.finished = True
        if event in ("failed", "uncollectable") and any(sign in detail for sign in _OUT_OF_MEMORY):
            report.out_of_memory = True
    report.passed -= failed
    return report


def _problem(outcome: Outcome, report: _Report) -> str:
    """What kept an exercise's tests from their end; empty where nothing did."""
    where = f" in {report.last}" if report.started else " before the first test"
    if outcome.timed_out:
        return f"timed out{where}"
    if report.out_of_memory or any(sign in outcome.output for sign in _OUT_OF_MEMORY):
        return "out of memory"
    if report.problem:
        return f"not importable: {report.problem}"
    if not report.finished:
        how = f"signal {-outcome.status}" if outcome.status < 0 else f"exit status {outcome.status}"
        return f"crashed{where} ({how})"
    return ""
