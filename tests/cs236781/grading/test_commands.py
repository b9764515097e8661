"""check-submission as an instructor uses it, once: all that it can write, of two archives of the project itself."""

import csv
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from cs236781.submission import prepare_submission

ROOT = Path(__file__).resolve().parents[3]
RIGHT_ONE, WRONG_ONE = "return qvals[::-1]", "return qvals"


@pytest.fixture(scope="module")
def term(tmp_path_factory):
    """A folder with an archive that is right, one whose q-values are in the wrong order, a roster and weights."""
    folder = tmp_path_factory.mktemp("term")
    right = prepare_submission(["1"], root=ROOT, out_dir=folder, skip_run=True)
    with zipfile.ZipFile(right) as source, zipfile.ZipFile(folder / "hw4-2_3.zip", "w") as target:
        for name in source.namelist():
            if name.endswith((".py", ".dat")):
                content = source.read(name)
                if name == "hw4-1/hw4/rl_data.py":
                    assert RIGHT_ONE.encode() in content
                    content = content.replace(RIGHT_ONE.encode(), WRONG_ONE.encode())
                target.writestr(name.replace("hw4-1/", "hw4-2_3/"), content)
    (folder / "roster.csv").write_text("id,name\n1,Dana\n2,Noam\n4,Tal\n")
    (folder / "weights.toml").write_text("[weights]\nEpisode.calc_qvals = 40\nPolicyNet = 60\n")
    return folder


def check(folder):
    options = {
        "csv": "marks.csv",
        "roster": "roster.csv",
        "feedback-dir": "feedback",
        "answers": "answers.html",
        "similarity": "alike.md",
        "cache": "cache",
        "weights": "weights.toml",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    command = [sys.executable, ROOT / "main.py", "check-submission", "hw4-1.zip", "hw4-2_3.zip", "--jobs", "2"]
    arguments += ["--time-limit", "60"]  # however slow the machine
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run([*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def checked(term):
    process = check(term)
    assert process.returncode == 0, process.stdout + process.stderr
    return process


def rows(term):
    with (term / "marks.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def test_the_sheet_has_every_student(checked, term):
    found = rows(term)
    assert found.keys() == {"1", "2", "3", "4"}
    assert [float(found[id_]["Episode.calc_qvals"]) for id_ in ("1", "2", "3")] == [40.0, 10.0, 10.0]
    assert [float(found[id_]["PolicyNet"]) for id_ in ("1", "2", "3")] == [60.0, 60.0, 60.0]


def test_feedback_names_the_mistake(checked, term):
    """In the wrong one's only."""
    hint = "These are the right values in reversed order"
    texts = {path.name: path.read_text() for path in (term / "feedback").rglob("*.md")}
    assert {name for name, text in texts.items() if hint in text} == {name for name in texts if "1" not in name}
    assert len(texts) == len(list((term / "feedback").rglob("*.html"))) >= 2


def test_answers_and_likeness_are_written(checked, term):
    assert "hw4-2_3" in (term / "answers.html").read_text()
    assert (term / "alike.md").read_text().startswith("# Pairs to look at")


def test_what_was_protected_is_said(checked):
    assert "network" in checked.stderr
    assert "Traceback" not in checked.stderr


def test_a_second_call_checks_nothing(checked, term):
    before = rows(term)
    (term / "marks.csv").unlink()
    again = check(term)
    assert (again.returncode, again.stdout) == (0, checked.stdout)
    assert "2/2" in again.stderr
    assert "0/2" not in again.stderr  # none was left to do at its start
    assert rows(term) == before
