"""Archives are checked as wholes here; how they are unpacked and what limits hold is tested in their own rooms."""

import csv
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from cs236781.distribution import without_solutions
from cs236781.exercises import load_exercises
from cs236781.grading import checking, sandbox
from cs236781.grading.checking import Limits, check_submissions, table
from cs236781.submission import prepare_submission

ROOT = Path(__file__).resolve().parents[3]


def code(add="return a + b", double="return 2 * a"):
    return f"import os, shutil\n\ndef add(a, b):\n    {add}\n\ndef double(a):\n    {double}\n"


SOLVED = code()

PROJECT = {
    "hw4/__init__.py": SOLVED,
    "pyproject.toml": "[tool.pytest.ini_options]\n",
    "tests/test_one.py": """
        import pytest
        from hw4 import add

        @pytest.mark.parametrize("b", [1, 2, 3])
        def test_add(b):
            assert add(1, b) == 1 + b
        """,
    "tests/test_two.py": """
        import hw4

        class TestDouble:
            def test_exists(self):
                assert callable(hw4.double)

            def test_result(self):
                assert hw4.double(4) == 8

        def test_given():
            assert hw4.double(0) == 0
        """,
    "tests/exercises.toml": """
        [[exercise]]
        name = "add"
        section = "1 one"
        file = "hw4/__init__.py"
        task = "Add."
        tests = ["tests/test_one.py"]

        [[exercise]]
        name = "double"
        section = "2 two"
        file = "hw4/__init__.py"
        task = "Double."
        tests = ["tests/test_two.py::TestDouble"]
        """,
}


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_text(textwrap.dedent(text))
    return root


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A small project with two exercises of 3 and 2 tests."""
    return write(tmp_path_factory.mktemp("project"), PROJECT)


def make(path, code, ids="1", **others):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"hw4-{ids}/hw4/__init__.py", code)
        for name, text in others.items():
            archive.writestr(f"hw4-{ids}/{name}", text)
    return path


@pytest.fixture(scope="module")
def checked(project, tmp_path_factory):
    """The rows of archives of every kind, checked in one call."""
    folder = tmp_path_factory.mktemp("archives")
    made = {
        "no_end": code(add="while True: pass"),
        "solved": SOLVED,
        "half": code(double="raise NotImplementedError"),
        "dies": code(add="os._exit(0)"),
        "spoils": code(add="shutil.rmtree(os.environ['HOME'] + '/../project'); os._exit(1)"),
        "hog": "x = bytearray(3_000_000_000)",
        "wrong": "def add(:",
        "import": "while True: pass",
    }
    archives = [make(folder / f"{name}.zip", text, "1_2", **{"tests/test_two.py": ""}) for name, text in made.items()]
    solved = archives[1].read_bytes()
    for name, content in {
        "truncated": solved[:-40],
        "hw4-8_9": b"no archive",
        "outside": solved,
        "no_code": b"",
    }.items():
        (folder / f"{name}.zip").write_bytes(content)
        archives.append(folder / f"{name}.zip")
    for name, member in {"outside": "../../outside", "no_code": "hw4-1/README.md"}.items():
        with zipfile.ZipFile(folder / f"{name}.zip", "a") as archive:
            archive.writestr(member, "x")
    csv_file = folder / "marks.csv"
    options = {"csv_file": csv_file, "jobs": 3, "limits": Limits(seconds=8, megabytes=1000), "project": project}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "_PATIENCE", 100)  # none of them sleeps, and a busy machine changes nothing
        rows = check_submissions(archives, **options)
    assert [row["archive"] for row in rows] == list(map(str, archives))
    with csv_file.open(newline="") as file:
        assert list(csv.DictReader(file)) == rows
    return rows


@pytest.mark.parametrize(
    ("name", "ids", "one", "two", "every", "status"),
    [
        ("solved.zip", "1_2", "3/3", "2/2", "5/5", "ok"),
        ("half.zip", "1_2", "3/3", "1/2", "4/5", "ok"),
        ("no_end.zip", "1_2", "0/3", "2/2", "2/5", "1 one: timed out in tests/test_one.py::test_add[1]"),
        ("dies.zip", "1_2", "0/3", "2/2", "2/5", "1 one: crashed in tests/test_one.py::test_add[1] (exit status 0)"),
        ("spoils.zip", "1_2", "0/3", "0/2", "0/5", "crashed: its tests cannot be run"),
        ("hog.zip", "1_2", "0/3", "0/2", "0/5", "out of memory"),
        ("wrong.zip", "1_2", "0/3", "0/2", "0/5", "not importable: SyntaxError"),
        ("import.zip", "1_2", "0/3", "0/2", "0/5", "timed out before the first test"),
        ("truncated.zip", "", "0/3", "0/2", "0/5", "broken archive: not a complete zip file"),
        ("hw4-8_9.zip", "8_9", "0/3", "0/2", "0/5", "broken archive: not a complete zip file"),
        ("outside.zip", "", "0/3", "0/2", "0/5", "broken archive: '../../outside' leads out"),
        ("no_code.zip", "", "0/3", "0/2", "0/5", "broken archive: it holds no package hw4"),
    ],
)
def test_each_archive_gets_its_due(checked, name, ids, one, two, every, status):
    row = next(row for row in checked if Path(row["archive"]).name == name)
    assert row["status"].startswith(status)
    assert row["status"].isprintable()
    assert [row[column] for column in ("ids", "1 one", "2 two", "all")] == [ids, one, two, every]
    assert list(row) == ["ids", "archive", "1 one", "2 two", "all", "status"]


def test_nothing_is_left_behind(project, tmp_path, monkeypatch):
    monkeypatch.setattr(checking.tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    archive = make(tmp_path / "a.zip", "import os; open(os.environ['HOME'] + '/../x', 'w')")
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    check_submissions([archive], project=project)
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_name_that_is_no_text_can_be_shown(project, tmp_path):
    """As students' names come out of a zip file whose encoding was guessed wrongly."""
    archive = tmp_path / os.fsdecode(b"hw4-\xff\x1b.zip")
    archive.write_text("no archive")
    rows = check_submissions([archive], csv_file=tmp_path / "o", project=project)
    assert "hw4-??.zip" in table(rows)
    assert table(rows).encode().decode().replace("\n", "").isprintable()
    assert "hw4-??.zip" in (tmp_path / "o").read_text()


def test_a_report_is_read_no_further_than_it_can_be_long(project, tmp_path, monkeypatch):
    read = []
    read_report = checking._read_report
    monkeypatch.setattr(checking, "_MAX_REPORT_BYTES", 100_000)
    monkeypatch.setattr(checking, "_read_report", lambda text: read.append(len(text)) or read_report(text))
    flood = """
import contextlib, glob
for path in glob.glob("/dev/fd/*"):
    with contextlib.suppress(OSError), open(path, "a") as file:
        file.write("\\n" * 1_000_000)
"""
    check_submissions([make(tmp_path / "a.zip", flood)], project=project)
    assert max(read) == 100_000


@pytest.mark.parametrize("line", ["[" * 100_000, "[]", "3", "nothing", '{"$report_type": "TestReport", "nodeid": [1]}'])
def test_a_report_that_the_code_wrote_into(line):
    end = '{"$report_type": "SessionFinish", "exitstatus": 0}'
    assert checking._read_report(f"{line}\n{end}").finished


@pytest.mark.parametrize(
    ("archive", "csv_file", "error", "problem"),
    [
        ("missing.zip", "o", FileNotFoundError, r"no archive .*missing\.zip"),
        ("a.zip", ".", IsADirectoryError, "is a folder"),
    ],
)
def test_what_is_said_before_anything_runs(project, tmp_path, monkeypatch, archive, csv_file, error, problem):
    monkeypatch.setattr(checking, "Sandbox", lambda *args: pytest.fail("something was run"))
    make(tmp_path / "a.zip", SOLVED)
    with pytest.raises(error, match=problem):
        check_submissions([tmp_path / archive], csv_file=tmp_path / csv_file, project=project)


def test_a_project_whose_own_tests_cannot_be_run(project, tmp_path):
    broken = tmp_path / "project"
    shutil.copytree(project, broken)
    (broken / "hw4" / "__init__.py").write_text("import no_such_module")
    with pytest.raises(RuntimeError, match=r"this project's own code: .*no_such_module"):
        check_submissions([make(tmp_path / "a.zip", SOLVED)], project=broken)


def test_the_assignment_itself_complete_and_half_done(tmp_path, monkeypatch):
    """Two of the exercises: all take longer than a test should."""
    exercises = [
        e for e in load_exercises(ROOT) if e.name in ("ActionEntropyLoss.forward", "AACPolicyGradientLoss.forward")
    ]
    monkeypatch.setattr(checking, "load_exercises", lambda root: exercises)
    complete = prepare_submission(["1"], root=ROOT, out_dir=tmp_path, skip_run=True)
    half_done = tmp_path / "hw4-2.zip"
    with zipfile.ZipFile(complete) as source, zipfile.ZipFile(half_done, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "hw4-1/hw4/rl_ac.py":
                content = without_solutions(content.decode(), "hw4/rl_ac.py", exercises)
            target.writestr(name.replace("hw4-1/", "hw4-2/"), content)
    rows = check_submissions([complete, half_done], jobs=2)
    assert [(row["ids"], row["status"]) for row in rows] == [("1", "ok"), ("2", "ok")]
    totals = [(row["6 losses"].split("/"), row["9 actor-critic"].split("/")) for row in rows]
    assert all(passed == total for passed, total in totals[0])
    assert totals[1] == (totals[0][0], ["0", totals[0][1][1]])


def test_the_command(tmp_path):
    """An archive that is broken needs no exercise to be run, so that this is quick."""
    (tmp_path / "hw4-1.zip").write_bytes(b"PK")
    command = [sys.executable, "main.py", "check-submission", str(tmp_path / "hw4-1.zip"), "--csv", str(tmp_path / "o")]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert "broken archive: not a complete zip file" in process.stdout
    assert "network was" in process.stderr
    assert "Traceback" not in process.stderr
    assert "broken archive" in (tmp_path / "o").read_text()


def test_a_checker_who_is_root_is_told_what_that_means(monkeypatch):
    """The system counts the processes of every user but root."""
    monkeypatch.setattr(checking.os, "getuid", lambda: 0)
    assert "You are root" in checking.isolation()
    monkeypatch.setattr(checking.os, "getuid", lambda: 1000)
    assert "root" not in checking.isolation()
