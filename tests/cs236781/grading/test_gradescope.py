"""Gradescope's format, and the autograder's two scripts as Gradescope runs them."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import textwrap
import zipfile
from pathlib import Path

import fastjsonschema
import pytest

from cs236781.grading import gradescope
from cs236781.grading.gradescope import (
    SCHEMA,
    build_autograder,
    failure,
    results,
    run,
    submitted_archive,
    write_results,
)
from cs236781.grading.verdicts import ExerciseResult, Finding, Submission

ROOT = Path(__file__).resolve().parents[3]
check = fastjsonschema.compile(SCHEMA)

# A value for every field that the documentation names.
TEST = {
    "score": 1.5,
    "max_score": 2,
    "status": "failed",
    "name": "calc_qvals",
    "name_format": "text",
    "number": "1.1",
    "output": "got 3",
    "output_format": "md",
    "tags": ["wrong"],
    "visibility": "after_due_date",
    "extra_data": {"checks": 4},
}
EVERYTHING = {
    "score": 30.5,
    "execution_time": 100,
    "output": "all in all",
    "output_format": "simple_format",
    "test_output_format": "ansi",
    "test_name_format": "html",
    "visibility": "after_published",
    "stdout_visibility": "hidden",
    "extra_data": {},
    "tests": [TEST],
    "leaderboard": [{"name": "reward", "value": 200.5}, {"name": "time", "value": "fast", "order": "asc"}],
}


@pytest.mark.parametrize(
    "document",
    [
        EVERYTHING,
        {"score": 0},
        {"tests": [{"score": 1}]},
        {"score": 1, "tests": [{"name": "without a score"}]},
    ],
)
def test_what_the_documentation_allows_is_valid(document):
    check(document)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"tests": []},
        {"tests": [{"name": "without a score"}]},
        {"score": "30"},
        {"score": 1, "points": 1},
        {"score": 1, "output_format": "markdown"},
        {"score": 1, "visibility": "shown"},
        {"score": 1, "stdout_visibility": True},
        {"tests": [TEST | {"status": "ok"}]},
        {"tests": [TEST | {"number": 1}]},
        {"tests": [TEST | {"tags": "wrong"}]},
        {"tests": [TEST | {"hint": "none"}]},
        {"score": 1, "leaderboard": [{"name": "reward"}]},
        {"score": 1, "leaderboard": [{"name": "reward", "value": 1, "order": "up"}]},
    ],
)
def test_what_it_does_not_is_not(document):
    with pytest.raises(fastjsonschema.JsonSchemaValueException):
        check(document)


# --- verdicts

PASSES = Finding("long", True, "an episode of 300 steps", "300 values")
FAILS = Finding(
    "small", False, "rewards 1, 0, 2 with gamma 0.5", "1.5, 1.0, 2.0", "3.0, 2.0, 2.0", "these are not discounted"
)
SUBMISSION = Submission(
    archive="hw4-1.zip",
    ids=["1"],
    exercises=[
        ExerciseResult("PolicyNet", "done", [PASSES, PASSES]),
        ExerciseResult("calc_qvals", "wrong", [PASSES, FAILS, PASSES]),
        ExerciseResult("step", "broken", [], "SyntaxError: invalid syntax", "hw4/rl_pg.py:12"),
        ExerciseResult("train_batch", "to do", [Finding("small", False, "a step", "a loss")], "", "hw4/training.py:7"),
    ],
    whole=(3, 6),
    results={"cpg": {"best_mean_reward": 79.84, "bar": 10.0}, "aac": {"best_mean_reward": 5.0, "bar": 60.0}},
    warnings=["The folder is called otherwise."],
)
WEIGHTS = {"PolicyNet": 10, "calc_qvals": 10, "step": 5.5, "train_batch": 0, "forward": 74.5}


def test_each_exercise_is_a_test_with_its_points():
    document = results(SUBMISSION, WEIGHTS)
    check(document)
    rows = [
        [test[key] for key in ("number", "name", "score", "max_score", "status", "tags")] for test in document["tests"]
    ]
    assert rows == [
        ["1", "PolicyNet", 10, 10, "passed", ["done"]],
        ["2", "calc_qvals", 6.6667, 10, "failed", ["wrong"]],
        ["3", "step", 0, 5.5, "failed", ["broken"]],
        ["4", "train_batch", 0, 0, "failed", ["to do"]],
        ["5", "forward", 0, 74.5, "failed", ["not checked"]],
    ]
    assert "score" not in document


def test_an_exercises_output_says_what_failed():
    outputs = [test["output"] for test in results(SUBMISSION, WEIGHTS)["tests"]]
    assert outputs == [
        "done: 2 of 2 checks pass",
        textwrap.dedent(
            """\
            wrong: 2 of 3 checks pass

            small: does not pass
              asked:    rewards 1, 0, 2 with gamma 0.5
              expected: 1.5, 1.0, 2.0
              got:      3.0, 2.0, 2.0
              hint:     these are not discounted"""
        ),
        "broken\n\nhw4/rl_pg.py:12: SyntaxError: invalid syntax",
        "to do: 0 of 1 checks pass\n\nhw4/training.py:7\n\n"
        "small: does not pass\n  asked:    a step\n  expected: a loss",
        "not checked",
    ]


def test_the_whole_output():
    assert results(SUBMISSION, WEIGHTS)["output"].splitlines() == [
        "With all of your own code together, 3 of 6 checks pass.",
        "cpg: your results say a best mean reward of 79.8, over the bar of 10.",
        "aac: your results say a best mean reward of 5.0, below the bar of 60.",
        "The folder is called otherwise.",
    ]


def test_a_broken_archive_gets_no_points_and_says_why():
    document = results(Submission("hw4-1.zip", ["1"], "broken archive: it is empty"), WEIGHTS)
    check(document)
    assert document["output"] == "Not all could be checked: broken archive: it is empty"
    assert [test["score"] for test in document["tests"]] == [0] * 5


def test_what_a_submission_says_is_shown_as_text(tmp_path):
    got = "<script>\x1b[31m\0\r\n" + 10 * "line\n" + "\ud800 שלום " + "x" * 10_000
    exercise = ExerciseResult("calc_qvals", "wrong", [Finding("a", False, "b", "c", got)])
    write_results(tmp_path / "results.json", Submission("a", ["1"], exercises=[exercise]), {"calc_qvals": 1})
    document = json.loads((tmp_path / "results.json").read_text())
    check(document)
    output = document["tests"][0]["output"]
    assert document["test_output_format"] == document["test_name_format"] == document["output_format"] == "text"
    assert "  got:      <script>?[31m?\n            line\n" in output
    assert "? שלום xxx" in output
    assert output.endswith("xxx ...")
    assert len(output) < 3000
    output.encode()


def test_a_failure_is_valid_and_says_why():
    document = failure("the disk is full")
    check(document)
    assert document["score"] == 0
    assert document["output"].endswith(": the disk is full")
    assert document["visibility"] == "visible"


# --- what was handed in


def lay_out(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name}\n")


@pytest.fixture
def place(tmp_path):
    for name in ("submission", "scratch"):
        (tmp_path / name).mkdir()
    return tmp_path


def packed_from(place):
    path = submitted_archive(place / "submission", place / "scratch")
    assert path.parent == place / "scratch"
    with zipfile.ZipFile(path) as archive:
        return path.name, archive.namelist()


@pytest.mark.parametrize("name", ["hw4-1_2.zip", "hw4-1_2 (1).ZIP"])
def test_an_archive_is_taken_as_it_is(place, name):
    (place / "submission" / name).write_bytes(b"PK, or not")
    path = submitted_archive(place / "submission", place / "scratch")
    assert (path, path.read_bytes()) == (place / "scratch" / name, b"PK, or not")


def test_an_unpacked_archive_is_packed_again(place):
    lay_out(
        place / "submission",
        "hw4-1_2/hw4/__init__.py",
        "hw4-1_2/Part1.ipynb",
        "hw4-1_2/hw4/__pycache__/a.pyc",
        "__MACOSX/hw4/a",
        ".hidden/hw4/a",
    )
    assert packed_from(place) == ("hw4-1_2.zip", ["hw4-1_2/Part1.ipynb", "hw4-1_2/hw4/__init__.py"])


@pytest.mark.parametrize("folder", ["", "hw4-student-name/"])
def test_a_folder_that_says_no_id_is_packed_under_another_name(place, folder):
    lay_out(place / "submission", f"{folder}hw4/__init__.py", f"{folder}main.py")
    assert packed_from(place) == (
        "hw4-submission.zip",
        ["hw4-submission/hw4/__init__.py", "hw4-submission/main.py"],
    )


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([], "there is none"),
        (["rl_pg.py", "answers.py"], "there is none"),
        (["hw4-1.zip", "hw4-2.zip"], "there is more than one"),
        (["hw4-1/hw4/a.py", "hw4-2/hw4/a.py"], "there is more than one"),
        (["hw4-1/hw4/a.py", "hw4-1.zip"], "there is more than one"),
    ],
)
def test_what_is_no_single_archive_is_refused(place, names, reason):
    lay_out(place / "submission", *names)
    with pytest.raises(ValueError, match=f"^hand in the archive hw4-ID.zip .*{reason}$"):
        submitted_archive(place / "submission", place / "scratch")


def test_links_that_lead_out_are_refused(place):
    lay_out(place / "submission", "hw4/__init__.py")
    (place / "submission" / "hw4" / "secret.py").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="leads out of the project"):
        submitted_archive(place / "submission", place / "scratch")


def test_more_files_than_an_archive_may_have_are_refused(place, monkeypatch):
    monkeypatch.setattr("cs236781.unpacking.MAX_FILES", 2)
    lay_out(place / "submission", *(f"hw4/{name}.py" for name in "abc"))
    with pytest.raises(ValueError, match="3 files"):
        submitted_archive(place / "submission", place / "scratch")


# --- a run, with a checker that is made up

FOUND = {"tests": [{"score": 1, "max_score": 2}]}
CHECKER = {
    "works": f"Path(sys.argv[4]).write_text({json.dumps(FOUND)!r}); sys.exit(1)",
    "is refused": "sys.exit(2)",
    "crashes": "os.abort()",
    "writes what is no JSON": "Path(sys.argv[4]).write_text('{')",
    "writes another format": """Path(sys.argv[4]).write_text('{"points": 1}')""",
}


@pytest.fixture
def autograder(place):
    """Gradescope's folder, with an archive that was handed in."""
    lay_out(place, "submission/hw4-1.zip", "source/main.py")
    return place


def made_up(autograder, checker):
    program = f"""
        import os, sys
        from pathlib import Path
        assert sys.argv[1:2] + sys.argv[3:4] == ["check-submission", "--gradescope"]
        assert Path(sys.argv[2]).read_text() == "submission/hw4-1.zip\\n"
        {CHECKER[checker]}
        """
    (autograder / "source" / "main.py").write_text(textwrap.dedent(program))


def written(autograder):
    document = json.loads((autograder / "results" / "results.json").read_text())
    check(document)
    return document


@pytest.fixture
def as_oneself(monkeypatch):
    """Root may change to another user, who can read none of a test's files."""
    monkeypatch.setattr(gradescope.os, "getuid", lambda: 1)


@pytest.mark.usefixtures("as_oneself")
def test_a_run_writes_what_the_checker_found(autograder):
    made_up(autograder, "works")
    run(autograder)
    document = written(autograder)
    assert document.pop("execution_time") >= 0
    assert document == FOUND


@pytest.mark.usefixtures("as_oneself")
@pytest.mark.parametrize(
    ("checker", "reason"),
    [
        ("is refused", "the checker failed (exit status 2)"),
        ("crashes", "the checker failed (exit status -6)"),
        ("writes what is no JSON", "results.json is damaged"),
        ("writes another format", "results.json is damaged"),
    ],
)
def test_a_run_says_what_kept_the_checker(autograder, checker, reason):
    made_up(autograder, checker)
    run(autograder)
    assert written(autograder)["score"] == 0
    assert reason in written(autograder)["output"]


@pytest.mark.usefixtures("as_oneself")
def test_a_run_says_what_is_wrong_with_what_was_handed_in(autograder):
    (autograder / "submission" / "hw4-1.zip").unlink()
    run(autograder)
    assert "hand in the archive hw4-ID.zip" in written(autograder)["output"]


def test_a_run_that_is_ended_from_outside_has_said_so(autograder, monkeypatch):
    def ended(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(gradescope, "_checked", ended)
    with pytest.raises(KeyboardInterrupt):
        run(autograder)
    assert "did not come to its end" in written(autograder)["output"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change to another user")
def test_root_has_another_user_run_the_checker():
    with tempfile.TemporaryDirectory() as name:  # where that user can come, unlike tmp_path
        scratch = Path(name)
        scratch.chmod(0o755)
        program = "id -u > results; touch ../mine && id -G >> results; cat archive >> results"
        (scratch / "inner").mkdir()
        (scratch / "inner" / "archive").write_text("PK")
        status = gradescope._run_unprivileged(["/bin/sh", "-c", program], scratch / "inner", {}, scratch / "inner")
        user = pwd.getpwnam(gradescope.USER)
        assert (scratch / "inner" / "results").read_text() == f"{user.pw_uid}\nPK"
        assert status == 0


def test_the_script_that_gradescope_runs(autograder):
    made_up(autograder, "works")
    python = autograder / "source" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    # The package is this project's, and the checker the made up one; as root, it would run as another user.
    start = f"import os, runpy, sys; os.getuid = lambda: 1; sys.path.insert(0, {str(ROOT)!r}); sys.argv[1:2] = []"
    module = "runpy.run_module('cs236781.grading.gradescope', run_name='__main__')"
    python.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -c "{start}; {module}" "$@"\n')
    python.chmod(0o755)
    shutil.copy(ROOT / "gradescope" / "run_autograder", autograder)
    subprocess.run([autograder / "run_autograder"], cwd="/", check=True)
    assert written(autograder)["tests"] == FOUND["tests"]


def test_the_script_writes_results_even_where_nothing_starts(autograder):
    lay_out(autograder, "results/results.json")
    shutil.copy(ROOT / "gradescope" / "run_autograder", autograder)
    subprocess.run([autograder / "run_autograder"], cwd="/", check=True, capture_output=True)
    assert "was not checked" in written(autograder)["output"]


# --- the autograder's archive

in_git = pytest.mark.skipif(
    not (ROOT / ".git").exists() or shutil.which("git") is None, reason="it is made from a git working tree"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build_autograder(out_dir=tmp_path_factory.mktemp("built"))


@in_git
def test_the_autograder_has_its_scripts_at_the_root_and_the_checker_beside(built):
    with zipfile.ZipFile(built) as archive:
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
    assert built.name == "autograder.zip"
    assert modes["setup.sh"] == modes["run_autograder"] == modes["main.py"] == 0o100755
    assert modes["cs236781/grading/checking.py"] == 0o100644
    assert {name.partition("/")[0] for name in modes} == {*gradescope.PACKED, *gradescope.SCRIPTS}


@in_git
def test_the_same_files_give_the_same_autograder(built, tmp_path):
    assert build_autograder(out_dir=tmp_path).read_bytes() == built.read_bytes()


@in_git
def test_the_autograders_copy_works(built, tmp_path):
    with zipfile.ZipFile(built) as archive:
        archive.extractall(tmp_path)
    command = [sys.executable, "main.py", "check-submission", "--help"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    help_text = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert "check-submission" in help_text


@pytest.mark.parametrize("name", gradescope.SCRIPTS)
def test_the_scripts_are_bash(name):
    script = ROOT / "gradescope" / name
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", script], check=True)
