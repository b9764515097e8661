"""The table of exercises, and what a test run says of them."""

import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

from cs236781.exercises import Exercise, load_exercises, not_written
from tests import exercise_report

ROOT = Path(__file__).resolve().parents[2]
EXERCISES = load_exercises(ROOT)


def exercise(name, **fields):
    return Exercise(
        **{"section": "", "file": "", "task": "", "tests": ["tests/test_a.py::test_f"], "functions": [name]} | fields,
        name=name,
    )


def test_the_students_readme_lists_them():
    lines = [
        f"| {section} | `{file}` | {', '.join(f'`{row.name}`' for row in rows)} |"
        for (section, file), rows in groupby(EXERCISES, lambda row: (row.section, row.file))
    ]
    assert "\n".join(lines) in (ROOT / "docs" / "students.md").read_text()


def test_its_tests_exist():
    tests = {test for row in EXERCISES for test in row.tests}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "--collect-only",
        *sorted(tests),
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]


@pytest.mark.parametrize(
    ("nodeid", "is_its"),
    [
        ("tests/a.py::TestB", True),
        ("tests/a.py::TestB::test_c", True),
        ("tests/a.py::TestB[1]", True),
        ("tests/a.py::TestBC::test_d", False),
        ("tests/a.py::TestA", False),
    ],
)
def test_whose_test_it_is(nodeid, is_its):
    assert exercise("f", tests=["tests/a.py::TestB"]).has_test(nodeid) is is_its


def test_what_is_not_written_is_found_where_it_stands_first(tmp_path):
    rows = [exercise(name, file="a.py") for name in ("A.f", "g", "h")] + [exercise("i", file="missing.py")]
    (tmp_path / "a.py").write_text(f'raise E("{rows[0].mark}")\n\n# {rows[1].mark}\nraise E("{rows[0].mark}")\n')
    assert not_written(tmp_path, rows) == {"A.f": "a.py:1", "g": "a.py:3"}


# --- what a test run says


def report(test, outcome, waits_for=None):
    made = pytest.TestReport(f"tests/test_a.py::{test}", ("", 0, ""), {}, outcome, None, "call")
    if waits_for:
        made.exercise = waits_for
    return made


UNREADABLE = pytest.CollectReport("tests/test_a.py", "failed", "SyntaxError", None)


@pytest.mark.parametrize(
    ("reports", "line"),
    [
        ([report("test_f[1]", "passed"), report("test_f[2]", "passed")], "done f"),
        ([report("test_f[1]", "passed"), report("test_f[2]", "failed")], "wrong f 1 of its 2 tests fail"),
        ([report("test_f[1]", "failed", "g"), report("test_f[2]", "failed")], "wrong f 1 of its 2 tests fail"),
        ([UNREADABLE], "wrong f 1 of its 1 tests fail"),
        ([report("test_f[1]", "passed"), report("test_f[2]", "failed", "g")], "waits f for g"),
        ([report("test_g", "failed")], None),
    ],
)
def test_what_is_said_of_a_written_exercise(reports, line):
    said = exercise_report.summary_line(exercise("f"), reports)
    assert (said and " ".join(said.split())) == line


def test_what_is_said_of_an_exercise_to_do(monkeypatch):
    monkeypatch.setitem(exercise_report.TO_DO, "f", "hw4/x.py:3")
    reports = [report("test_f", "failed", "f"), report("test_g", "failed", "f"), report("test_h", "failed", "g")]
    line = exercise_report.summary_line(exercise("f"), reports)
    assert " ".join(line.split()) == "to do f hw4/x.py:3 2 tests stop here"


class Terminal:
    def __init__(self, *reports):
        self.stats = {"failed": reports}
        self.lines = []

    def section(self, title):
        self.lines.append(title)

    def write_line(self, text):
        self.lines += [re.sub(" +", " ", line) for line in text.split("\n")]


@pytest.mark.parametrize(
    ("reports", "lines"),
    [
        ([report("test_f", "passed"), report("test_g", "passed")], ["exercises: 2 of 2 are done"]),
        ([report("test_f", "passed")], ["exercises: 1 of 2 are done"]),
        (
            [report("test_f", "passed"), report("test_g", "failed")],
            ["exercises", "done f", "wrong g 1 of its 1 tests fail"],
        ),
        ([report("test_h", "failed")], []),
    ],
)
def test_the_summary_where_all_is_written(monkeypatch, reports, lines):
    """One line where all is right; the table where something is wrong, which would else be found only far above."""
    rows = [exercise("f"), exercise("g", tests=["tests/test_a.py::test_g"])]
    monkeypatch.setattr(exercise_report, "EXERCISES", rows)
    monkeypatch.setattr(exercise_report, "TO_DO", {})
    terminal = Terminal(*reports)
    assert list(exercise_report.pytest_terminal_summary(terminal)) == [None]
    assert terminal.lines == lines


def test_an_exercise_is_found_in_a_file_of_another_encoding(tmp_path):
    text = f"# coding: cp1255\n# שלום\nraise NotImplementedError('{exercise('f').mark}')\n"
    (tmp_path / "a.py").write_text(text, encoding="cp1255")
    assert not_written(tmp_path, [exercise("f", file="a.py")]) == {"f": "a.py:3"}
