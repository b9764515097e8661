"""The students' copy: what is in it, and that it works with the exercises written and without."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ElementTree
import zipfile
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from cs236781 import distribution
from cs236781.exercises import Exercise, load_exercises

ROOT = Path(__file__).resolve().parents[2]
EXERCISES = load_exercises(ROOT)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}

pytestmark = [
    pytest.mark.skipif(
        not (ROOT / ".git").exists() or shutil.which("git") is None, reason="the copy is made from a git working tree"
    ),
    pytest.mark.timeout(1200),
]


def in_copy(folder, *arguments):
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)


def run_tests(folder, *tests):
    """Run a copy's tests; return what each that failed says, the number that passed, and the exercises' words."""
    report = folder / "report.xml"
    options = ["-q", "-n", "0", "-p", "no:cacheprovider", f"--junitxml={report}"]
    result = in_copy(folder, "-m", "pytest", *options, *tests)
    assert report.exists(), result.stdout + result.stderr
    cases = list(ElementTree.parse(report).iter("testcase"))
    failures = {
        f"{case.get('classname')}::{case.get('name')}": problem.get("message")
        for case in cases
        for problem in [*case.iter("failure"), *case.iter("error")]
    }
    words = dict(map(reversed, re.findall(r"^(to do|waits|wrong|done) +(\S+)", result.stdout, re.MULTILINE)))
    return failures, len(cases) - len(failures), words or result.stdout.strip().splitlines()[-2:]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return distribution.prepare_dist(out_dir=tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def copy(archive, tmp_path_factory):
    """The students' copy as they get it."""
    folder = tmp_path_factory.mktemp("copy")
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    return folder / "hw4-dist"


@pytest.fixture(scope="module")
def solved(copy, tmp_path_factory):
    """The students' copy with this project's solution in it."""
    folder = tmp_path_factory.mktemp("solved")
    shutil.copytree(copy, folder, dirs_exist_ok=True)
    for exercise in EXERCISES:
        shutil.copy(ROOT / exercise.file, folder / exercise.file)
    return folder


# --- what is in it


def test_holds_what_a_student_needs_and_nothing_of_the_instructors(archive):
    with zipfile.ZipFile(archive) as file:
        names = {name.removeprefix("hw4-dist/") for name in file.namelist()}
    assert {"README.md", "Makefile", "Part1_DeepRL.ipynb", "hw4/rl_pg.py", "tests/exercises.toml", "main.py"} <= names
    assert {name.split("/")[0] for name in names if "/" in name} == {"cs236781", "hw4", "tests"}
    assert [name for name in names if re.search(r"grading|distribution|browser|test_notebook\.py", name)] == []
    assert [name for name in names if name.startswith(".")] == [".gitignore"]


def test_same_tree_same_bytes(archive, tmp_path):
    assert distribution.prepare_dist(out_dir=tmp_path).read_bytes() == archive.read_bytes()


def test_scripts_can_be_executed_and_notebooks_have_no_outputs(archive):
    with zipfile.ZipFile(archive) as file:
        assert file.getinfo("hw4-dist/jupyter-lab.sh").external_attr >> 16 & 0o111
        assert not file.getinfo("hw4-dist/README.md").external_attr >> 16 & 0o111
        notebook = nbformat.reads(file.read("hw4-dist/Part1_DeepRL.ipynb").decode(), as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert not [cell for cell in code if cell.outputs or cell.execution_count is not None]


def test_an_untracked_file_stays_out(tmp_path):
    shutil.copytree(ROOT, tmp_path, ignore=shutil.ignore_patterns(".*", "results", "checkpoints"), dirs_exist_ok=True)
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    (tmp_path / "hw4" / "draft.py").write_text("solution = 42\n")
    assert "hw4/rl_pg.py" in distribution.students_files(tmp_path)
    assert "hw4/draft.py" not in distribution.students_files(tmp_path)


def test_its_style_is_the_projects(copy):
    for arguments in (["check", "."], ["format", "--check", "."]):
        result = in_copy(copy, "-m", "ruff", *arguments, "--no-cache")
        assert result.returncode == 0, result.stdout


def test_its_command_line_is_the_students(copy):
    result = in_copy(copy, "main.py", "--help")
    assert "prepare-submission" in result.stdout
    assert "prepare-dist" not in result.stdout + result.stderr
    assert "check-submission" not in result.stdout


def test_a_command_that_needs_an_exercise_says_so_in_one_line(copy):
    result = in_copy(copy, "main.py", "train", "vpg", "--episodes", "1", "--num-workers", "0")
    assert result.stderr == "main.py train: error: PolicyNet: an exercise, not written yet\n"
    assert result.returncode == 2


# --- both ways

TESTS = sorted({test for exercise in EXERCISES for test in exercise.tests})
FILES = sorted({test.partition("::")[0] for test in TESTS})


def test_as_it_is_tests_fail_for_exercises_and_for_nothing_else(copy):
    failures, n_passed, words = run_tests(copy, *FILES)
    messages = {exercise.mark for exercise in EXERCISES}
    others = {test: text for test, text in failures.items() if not any(message in text for message in messages)}
    assert others == {}
    assert len(failures) > 50
    assert n_passed > 20
    assert words == {exercise.name: "to do" for exercise in EXERCISES}


def test_with_this_projects_solution_every_exercise_is_done(solved):
    failures, _, words = run_tests(solved, *TESTS)
    assert failures == {}
    assert f"exercises: {len(EXERCISES)} of {len(EXERCISES)} are done" in words


# Each takes seconds: every third by default, and all of them with ALL_EXERCISES=1.
LEFT_OUT = EXERCISES if os.environ.get("ALL_EXERCISES") else EXERCISES[::3]


@pytest.mark.parametrize("left_out", LEFT_OUT, ids=lambda exercise: exercise.name)
def test_with_one_left_out_the_others_are_done_or_wait_for_it(solved, left_out):
    file = solved / left_out.file
    solution = file.read_text()
    file.write_text(distribution.without_solutions(solution, left_out.file, [replace(left_out, helpers=[])]))
    try:
        failures, n_passed, words = run_tests(solved, *TESTS)
    finally:
        file.write_text(solution)
    assert {test: text for test, text in failures.items() if left_out.mark not in text} == {}
    assert n_passed > 50
    assert [name for name, word in words.items() if word == "to do"] == [left_out.name]
    assert "wrong" not in words.values()


# --- how solutions are taken out


def exercise(name, functions=(), file="hw4/a.py", **fields):
    return Exercise(name, "1 a", file, "Write it.", [], list(functions) or [name], **fields)


SOURCE = '''
    """A module."""

    import bisect
    import math
    from itertools import chain, pairwise

    from hw4.b import given, helper

    __all__ = ["chain"]


    def find(x):
        return pairwise(bisect.bisect(x, 0))


    class Net:
        @staticmethod
        def build(a: int, *, b: str = "c") -> int:  # as published
            """Build."""
            secret = math.log(find(helper(a)))
            return secret
            # a hint

        def run(self):
            return find(given)


    def settings():
        return {"a": 2}


    part1_q1 = r"""The secret."""
'''
STUDENTS = '''
    """A module."""

    import math
    from itertools import chain

    from hw4.b import given

    __all__ = ["chain"]


    class Net:
        @staticmethod
        def build(a: int, *, b: str = "c") -> int:  # as published
            """Build."""
            # TODO: Write it.
            raise NotImplementedError("Net: an exercise, not written yet")

        def run(self):
            # TODO: as Net.build says.
            raise NotImplementedError("Net: an exercise, not written yet")


    def settings():
        # TODO: Write it. (settings: an exercise, not written yet)
        return {
            "a": 1,
        }


    # TODO: Write it.
    part1_q1 = r"""
    Your answer (part1_q1: an exercise, not written yet).
    """
'''
TABLE = [
    exercise("Net", functions=["Net.build", "Net.run"], helpers=["find"]),
    exercise("settings", start={"settings": '{\n    "a": 1,\n}'}),
    exercise("part1_q1"),
    exercise("other", file="hw4/b.py", helpers=["helper"]),
]


def test_what_stays_and_what_goes():
    assert distribution.without_solutions(textwrap.dedent(SOURCE), "hw4/a.py", TABLE) == textwrap.dedent(STUDENTS)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("def find():\n    pass\n", "names f, which is not in hw4/a.py"),
        ("def f():\n    find()\n", "names find, which is not in hw4/a.py"),
        (
            "def find():\n    pass\ndef f():\n    pass\ndef given():\n    find()\n",
            "find is left out .* what is given in hw4/a.py needs it",
        ),
        ("from hw4.b import helper\ndef find():\n    pass\ndef f():\n    pass\nhelper()\n", "helper is left out"),
    ],
)
def test_a_table_that_does_not_fit_the_code(source, problem):
    with pytest.raises(ValueError, match=problem):
        distribution.without_solutions(source, "hw4/a.py", [exercise("f", helpers=["find"]), TABLE[-1]])


# --- what can be wrong


def test_what_is_left_out_is_called_otherwise(monkeypatch):
    monkeypatch.setattr(distribution, "LEFT_OUT", ("hw4/renamed.py",))
    with pytest.raises(ValueError, match=r"hw4/renamed\.py is to be left out and is not there"):
        distribution.students_files(ROOT)


def test_no_folder_to_write_to(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing does not exist"):
        distribution.prepare_dist(out_dir=tmp_path / "missing")


def test_no_git_working_tree(tmp_path):
    with pytest.raises(OSError, match="git does not list the files of"):
        distribution.prepare_dist(root=tmp_path, out_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
