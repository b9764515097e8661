"""The students' copy: what is in it, what is not, and that it works with the exercises written and without."""

import ast
import os
import re
import shutil
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import nbformat
import pytest

from cs236781 import distribution
from tests import exercises

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}

# Quick ones, among them some for most exercises, some of what is given, and one that starts processes.
TEST_FILES = [
    "hw4/test_answers.py",
    "hw4/test_bad_input.py::TestData",
    "cs236781/grading/test_checking.py::test_the_assignment_itself_complete_and_half_done",
    "test_main.py::test_every_command_has_help",
    "test_main.py::test_help_lists_every_command",
    "test_main.py::test_plot_draws_results",
    "hw4/test_experiments.py::TestSchedule",
    "hw4/test_losses.py",
    "hw4/test_published_figures.py",
    "hw4/test_rl_ac.py",
    "hw4/test_rl_data.py::TestEpisode",
    "hw4/test_rl_data.py::TestQvals",
    "hw4/test_rl_data.py::TestTrainBatch",
    "hw4/test_rl_pg.py::TestAgent",
    "hw4/test_rl_pg.py::TestPolicyNet",
    "hw4/test_training.py::TestTrainBatch",
]

pytestmark = pytest.mark.skipif(
    not (ROOT / ".git").exists() or shutil.which("git") is None, reason="the copy is made from a git working tree"
)


def in_copy(folder, *arguments):
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=1200
    )


def run_tests(folder):
    """Run the copy's tests; return what each that failed says, the number that passed, and what was printed."""
    report = folder / "report.xml"
    tests = [f"tests/{name}" for name in TEST_FILES]
    result = in_copy(folder, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", f"--junitxml={report}", *tests)
    assert report.exists(), result.stdout + result.stderr
    cases = list(ElementTree.parse(report).iter("testcase"))
    failures = {
        f"{case.get('classname')}::{case.get('name')}": problem.get("message")
        for case in cases
        for problem in [*case.iter("failure"), *case.iter("error")]
    }
    return failures, len(cases) - len(failures), result.stdout


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return distribution.prepare_dist(out_dir=tmp_path_factory.mktemp("dist"))


@pytest.fixture
def copy(archive, tmp_path):
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path)
    return tmp_path / "hw4-dist"


def put_bodies_back(copy):
    for file in (ROOT / "hw4").glob("*.py"):
        shutil.copy(file, copy / "hw4")


# --- what is in it


def test_holds_what_a_student_needs_and_nothing_of_the_solution(archive):
    with zipfile.ZipFile(archive) as file:
        names = {name.removeprefix("hw4-dist/") for name in file.namelist()}
    assert {"README.md", "Makefile", "Part1_DeepRL.ipynb", "hw4/rl_pg.py", "tests/conftest.py", "main.py"} <= names
    folders = {name.split("/")[0] for name in names if "/" in name}
    assert folders == {"cs236781", "hw4", "tests"}
    assert not names & {"cs236781/distribution.py", "tests/test_distribution.py", "hw4/exercise.py"}
    assert not names & {"tests/test_notebook.py", "tests/test_browser.py"}  # they are about the executed notebook
    assert [name for name in names if name.startswith(".")] == [".gitignore"]


def test_same_tree_same_bytes(archive, tmp_path):
    assert distribution.prepare_dist(out_dir=tmp_path).read_bytes() == archive.read_bytes()


def test_scripts_can_be_executed(archive):
    with zipfile.ZipFile(archive) as file:
        assert file.getinfo("hw4-dist/jupyter-lab.sh").external_attr >> 16 & 0o111
        assert not file.getinfo("hw4-dist/README.md").external_attr >> 16 & 0o111


def test_the_notebook_has_no_outputs(copy):
    notebook = nbformat.read(copy / "Part1_DeepRL.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert not [cell for cell in code if cell.outputs or cell.execution_count is not None]


def test_an_untracked_file_stays_out(tmp_path):
    root = tmp_path / "project"
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(".*", "results", "checkpoints", "out"))
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    subprocess.run(["git", "-C", str(root), "add", "."], check=True)
    (root / "hw4" / "draft.py").write_text("solution = 42\n")
    assert "hw4/rl_pg.py" in distribution.students_files(root)
    assert "hw4/draft.py" not in distribution.students_files(root)


def test_its_style_is_the_projects(copy):
    for arguments in (["check", "."], ["format", "--check", "."]):
        result = in_copy(copy, "-m", "ruff", *arguments, "--no-cache")
        assert result.returncode == 0, result.stdout


def test_the_command_has_help():
    for arguments, text in ([], "prepare-dist"), (["prepare-dist"], "usage: main.py prepare-dist"):
        assert text in in_copy(ROOT, "main.py", *arguments, "--help").stdout


def test_its_command_line_is_the_projects_less_this_command(copy):
    result = in_copy(copy, "main.py", "--help")
    assert result.returncode == 0, result.stderr
    assert "prepare-submission" in result.stdout
    assert "prepare-dist" not in result.stdout


def test_a_command_that_needs_an_exercise_says_so_in_one_line(copy):
    result = in_copy(copy, "main.py", "train", "vpg", "--episodes", "1", "--num-workers", "0")
    assert result.stderr == "main.py train: error: PolicyNet.build_for_env: an exercise, not written yet\n"
    assert result.returncode == 2


def test_the_table_of_tests_names_every_exercise(copy):
    named = [
        name
        for file in (copy / "hw4").glob("*.py")
        for name in re.findall(rf"([\w.]+): {distribution.NOT_WRITTEN}", file.read_text())
    ]
    assert sorted(named) == sorted(exercises.TESTS_OF)


def test_every_row_of_the_table_has_tests():
    found = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        path = file.relative_to(ROOT / "tests").as_posix()
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef):
                methods = [method.name for method in node.body if isinstance(method, ast.FunctionDef)]
                found |= {f"{path}::{node.name}::{name}" for name in methods if name.startswith("test_")}
            elif isinstance(node, ast.FunctionDef):
                found.add(f"{path}::{node.name}")
    prefixes = {prefix.partition("[")[0] for prefixes in exercises.TESTS_OF.values() for prefix in prefixes}
    assert [prefix for prefix in prefixes if not any(name.startswith(prefix) for name in found)] == []


# --- both ways


def test_each_exercise_raises_with_its_name(copy):
    program = textwrap.dedent("""
        import importlib, inspect, pkgutil, sys
        import hw4
        modules = [importlib.import_module(f"hw4.{module.name}") for module in pkgutil.iter_modules(hw4.__path__)]
        for name in sys.argv[1:]:
            first, *rest = name.split(".")
            [function] = {id(f): f for f in (getattr(module, first, None) for module in modules) if f}.values()
            for part in rest:
                function = inspect.getattr_static(function, part)
                function = getattr(function, "__func__", function)
            names = [p.name for p in inspect.signature(function).parameters.values() if p.kind != p.VAR_KEYWORD]
            try:
                function(**dict.fromkeys(names))
            except NotImplementedError as error:
                print(error)
    """)
    names = [name for name in exercises.TESTS_OF if not name.startswith("part1_q")]
    result = in_copy(copy, "-c", program, *names)
    assert result.stdout.splitlines() == [f"{name}: an exercise, not written yet" for name in names], result.stderr


def test_tests_fail_for_exercises_and_for_nothing_else(copy):
    failures, n_passed, printed = run_tests(copy)
    names = "|".join(map(re.escape, exercises.TESTS_OF))
    message = re.compile(rf'(failed on setup with ")?NotImplementedError: ({names}): {distribution.NOT_WRITTEN}"?')
    assert {test: text for test, text in failures.items() if not message.fullmatch(text)} == {}
    assert len(failures) > 80
    assert n_passed > 20
    assert printed.count("\nto do ") == len(exercises.TESTS_OF)


def test_with_the_bodies_put_back_all_pass(copy):
    put_bodies_back(copy)
    failures, _, printed = run_tests(copy)
    assert failures == {}
    assert "to do" not in printed


def report(test, outcome, exercise=None):
    made = pytest.TestReport(f"tests/{test}", ("", 0, ""), {}, outcome, None, "call")
    if exercise:
        made.exercise = exercise
    return made


@pytest.mark.parametrize(
    ("reports", "line"),
    [
        ([report("test_a.py::test_1", "passed"), report("test_a.py::test_2", "passed")], "done    f"),
        (
            [report("test_a.py::test_1", "passed"), report("test_a.py::test_2", "failed")],
            "wrong   f 1 of its 2 tests fail",
        ),
        ([report("test_a.py::test_1", "passed"), report("test_a.py::test_2", "failed", "g")], "waits   f for g"),
        ([report("test_b.py::test_1", "failed")], "written f none of its tests was run"),
    ],
)
def test_what_is_said_of_a_written_exercise(reports, line):
    assert " ".join(exercises.summary_line("f", ["test_a.py"], reports).split()) == " ".join(line.split())


def test_what_is_said_of_an_exercise_to_do(monkeypatch):
    monkeypatch.setitem(exercises.TO_DO, "f", "hw4/x.py:3")
    reports = [report("test_a.py::test_1", "failed", "f"), report("test_a.py::test_2", "failed", "g")]
    line = exercises.summary_line("f", ["test_a.py"], reports)
    assert line.split() == ["to", "do", "f", "hw4/x.py:3", "1", "tests", "stop", "here"]


# --- how solutions are taken out


def test_signature_docstring_and_other_decorators_stay():
    source = textwrap.dedent('''
        """A module."""

        from hw4.exercise import exercise

        x = 1


        class Net:
            @staticmethod
            @exercise("Write it " "well.")
            def build(a: int, *, b: str = "c") -> int:  # as published
                """Build."""
                secret = a
                return secret
                # a hint


        @exercise("Tune it.", start={"a": 1})
        def settings():
            return {"a": 2}


        part1_q1 = r"""The secret."""
    ''')
    assert distribution.without_solutions(source) == textwrap.dedent('''
        """A module."""

        x = 1


        class Net:
            @staticmethod
            def build(a: int, *, b: str = "c") -> int:  # as published
                """Build."""
                # TODO: Write it well.
                raise NotImplementedError("Net.build: an exercise, not written yet")


        def settings():
            # TODO: Tune it.
            return {"a": 1}


        # TODO: Answer the question of the notebook, in Markdown, in place of this text (part1_q1).
        part1_q1 = r"""
        Your answer (part1_q1: an exercise, not written yet).
        """
    ''')


@pytest.mark.parametrize("mark", ['task="Write."', "TASK", '"Write.", begin=1', ""])
def test_a_mark_that_is_not_understood(mark):
    with pytest.raises(ValueError, match="the exercise f is not marked as"):
        distribution.without_solutions(f"@exercise({mark})\ndef f():\n    return 1\n")


def test_no_such_command_to_leave_out():
    with pytest.raises(ValueError, match="no command fly"):
        distribution.without_commands("COMMANDS = {}\n", ["fly"])


# --- what can be wrong


def test_no_folder_to_write_to(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing does not exist"):
        distribution.prepare_dist(out_dir=tmp_path / "missing")


def test_no_git_working_tree(tmp_path):
    with pytest.raises(OSError, match="git does not list the files of"):
        distribution.prepare_dist(root=tmp_path, out_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
