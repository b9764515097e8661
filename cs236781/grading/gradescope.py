"""Gradescope: a submission's verdicts as its `results.json`, and the autograder that it runs.

    write_results("results.json", submission, weights)
    build_autograder(out_dir=".")            -> autograder.zip, to upload to Gradescope

The format is the one of https://gradescope-autograders.readthedocs.io/en/latest/specs/. `gradescope/` holds the two
scripts that Gradescope runs: `setup.sh`, once, and `run_autograder`, for each submission, which calls `run`.
"""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cs236781.distribution import tracked
from cs236781.files import check_folder_writable, packed, read_json, write_json, write_whole
from cs236781.grading.verdicts import ExerciseResult, Finding, Submission, marks
from cs236781.submission import handed_in_files
from cs236781.unpacking import FOLDER, check_sizes

PROJECT = Path(__file__).resolve().parents[2]

# What the autograder is made of, of all that git tracks: the checker, and what `make install` reads.
PACKED = (
    "LICENSE",
    "Makefile",
    "README.md",
    "cs236781",
    "hw4",
    "main.py",
    "pyproject.toml",
    "requirements.lock",
    "tests",
)
SCRIPTS = ("run_autograder", "setup.sh")  # in the archive's root, where Gradescope looks for them

MAX_TEXT = 2000  # characters of a value that is shown
USER = "nobody"  # runs the submission's code, if root could

_FORMAT = {"enum": ["text", "html", "simple_format", "md", "ansi"]}
_VISIBILITY = {"enum": ["hidden", "after_due_date", "after_published", "visible"]}
_NUMBER = {"type": "number"}
_TEXT = {"type": "string"}
# results.json, as documented. Gradescope adds up the tests' scores if there is no score for the whole.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "anyOf": [
        {"required": ["score"]},
        {"required": ["tests"], "properties": {"tests": {"minItems": 1, "items": {"required": ["score"]}}}},
    ],
    "properties": {
        "score": _NUMBER,
        "execution_time": {"type": "number", "minimum": 0},
        "output": _TEXT,
        "output_format": _FORMAT,
        "test_output_format": _FORMAT,
        "test_name_format": _FORMAT,
        "visibility": _VISIBILITY,
        "stdout_visibility": _VISIBILITY,
        "extra_data": {"type": "object"},
        "tests": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "score": _NUMBER,
                    "max_score": _NUMBER,
                    "status": {"enum": ["passed", "failed"]},
                    "name": _TEXT,
                    "name_format": _FORMAT,
                    "number": _TEXT,
                    "output": _TEXT,
                    "output_format": _FORMAT,
                    "tags": {"type": "array", "items": _TEXT},
                    "visibility": _VISIBILITY,
                    "extra_data": {"type": "object"},
                },
            },
        },
        "leaderboard": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "value"],
                "additionalProperties": False,
                "properties": {
                    "name": _TEXT,
                    "value": {"type": ["number", "string"]},
                    "order": {"enum": ["asc", "desc"]},
                },
            },
        },
    },
}


def write_results(path: str | Path, submission: Submission, weights: Mapping[str, float]) -> None:
    """Write a submission's results.json: see `results`."""
    write_json(path, results(submission, weights), SCHEMA)


def results(submission: Submission, weights: Mapping[str, float]) -> dict[str, Any]:
    """A submission's verdicts in Gradescope's format: a test for each exercise.

    All texts are plain, which Gradescope shows as they are. There is no leaderboard: what a submission says about its
    own training is no result of a check.

    :param weights: the points of each exercise, by its name. An exercise that was not checked gets none of them.
    """
    found = {exercise.name: exercise for exercise in submission.exercises}
    points = marks(submission, weights)
    return _page(_summary(submission)) | {
        "test_output_format": "text",
        "test_name_format": "text",
        "tests": [
            _test(found.get(name), name, number, points[name], weight)
            for number, (name, weight) in enumerate(weights.items(), start=1)
        ],
    }


def failure(reason: str) -> dict[str, Any]:
    """The results of a submission that could not be checked: no points, and why."""
    return _page(f"This submission was not checked, so its score of 0 says nothing about it: {reason}") | {"score": 0}


def _page(output: str) -> dict[str, Any]:
    return {
        "output": _plain(output),
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",  # the checker's own words, for the instructor
    }


def _summary(submission: Submission) -> str:
    passed, every = submission.whole
    lines = [] if submission.status == "ok" else [f"Not all could be checked: {submission.status}"]
    if every:
        lines.append(f"With all of your own code together, {passed} of {every} checks pass.")
    for name, values in submission.results.items():
        best, bar = values.get("best_mean_reward"), values.get("bar")
        if best is not None:
            verdict = "" if bar is None else f", {'over' if best >= bar else 'below'} the bar of {bar:g}"
            lines.append(f"{name}: your results say a best mean reward of {best:.1f}{verdict}.")
    return "\n".join([*lines, *submission.warnings])


def _test(exercise: ExerciseResult | None, name: str, number: int, points: float, weight: float) -> dict[str, Any]:
    state = "not checked" if exercise is None else exercise.state
    return {
        "score": round(points, 4),
        "max_score": weight,
        "status": "passed" if state == "done" else "failed",  # by its points, an exercise of weight 0 would pass
        "name": _plain(name),
        "number": str(number),
        "output": _plain(state if exercise is None else _output(exercise)),
        "tags": [state],
        "visibility": "visible",
    }


def _output(exercise: ExerciseResult) -> str:
    """What an exercise's author is told."""
    passed = sum(finding.passed for finding in exercise.findings)
    counts = f": {passed} of {len(exercise.findings)} checks pass" if exercise.findings else ""
    parts = [f"{exercise.state}{counts}"]
    if exercise.problem or exercise.place:
        parts.append(": ".join(filter(None, [exercise.place, exercise.problem])))
    return "\n\n".join([*parts, *(_failing(finding) for finding in exercise.findings if not finding.passed)])


def _failing(finding: Finding) -> str:
    rows = {"asked": finding.asked, "expected": finding.expected, "got": finding.got, "hint": finding.hint}
    lines = [f"  {label + ':':<10}{_indented(text)}" for label, text in rows.items() if text]
    return "\n".join([f"{finding.name}: does not pass", *lines])


def _indented(text: str) -> str:
    """A text, not too long, whose further lines begin where its first does."""
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT] + " ..."
    return "\n            ".join(text.splitlines())


def _plain(text: str) -> str:
    """A text without characters that a page or JSON's readers do not take: controls and halves of characters."""
    return "".join(
        character if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs") else "?"
        for character in text
    )


# --- the autograder


def build_autograder(*, root: str | Path = PROJECT, out_dir: str | Path = ".") -> Path:
    """Pack what Gradescope asks for; returns the archive's path. The same files give the same bytes.

    :param root: the project, in a git working tree.
    :raises OSError: out_dir cannot be written to, there is no git, or root is no git working tree.
    """
    root, out_dir = Path(root).resolve(), Path(out_dir)
    check_folder_writable(out_dir)
    sources = {name: root / name for name in tracked(root, *PACKED)}
    sources |= {name: root / "gradescope" / name for name in SCRIPTS}
    target = out_dir / "autograder.zip"
    with tempfile.TemporaryDirectory(prefix="hw4-") as scratch:
        for name, path in sources.items():  # laid out as in the archive, so that the scripts can be executable there
            (Path(scratch) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, Path(scratch) / name)
        write_whole(target, packed("", {name: path.read_bytes() for name, path in sources.items()}, Path(scratch)))
    print(f"{target}: {len(sources)} files, {target.stat().st_size / 1e6:.2f} MB")
    return target


def submitted_archive(submission: Path, scratch: Path) -> Path:
    """The archive that was handed in, in the folder scratch.

    Gradescope unpacks an archive that a student uploads. Then its files are packed again.

    :param submission: what Gradescope gives: `hw4-ID.zip`, or what was in it, with the folder hw4-ID or without.
    :raises ValueError: there is no archive and no folder hw4, or more than one; or `check-submission` would refuse it.
    """
    visible = [path for path in sorted(submission.iterdir()) if not path.name.startswith((".", "__"))]
    archives = [path for path in visible if path.suffix.lower() == ".zip" and path.is_file()]
    folders = [path for path in [submission, *visible] if (path / "hw4").is_dir()]
    if len(archives) + len(folders) != 1:
        there = "more than one" if archives or folders else "none"
        raise ValueError(
            f"hand in the archive hw4-ID.zip that prepare-submission makes, and nothing else; there is {there}"
        )
    if archives:
        target = scratch / archives[0].name
        shutil.copyfile(archives[0], target)
        return target
    (folder,) = folders
    name = folder.name if FOLDER.fullmatch(folder.name) else "hw4-submission"
    files = {path.relative_to(folder).as_posix(): path for path in handed_in_files(folder)}
    check_sizes({member: path.stat().st_size for member, path in files.items()})
    target = scratch / f"{name}.zip"
    write_whole(target, packed(name, {member: path.read_bytes() for member, path in files.items()}, folder))
    return target


def run(autograder: Path) -> None:
    """Check the submission that Gradescope laid out, and write its results.json, whatever happens.

    :param autograder: Gradescope's folder, with this project in `source`, and `submission` and `results`.
    """
    started, target = time.monotonic(), autograder / "results" / "results.json"
    # It stays if the time that Gradescope gives is over.
    write_json(target, failure("checking did not come to its end. Ask your instructor."), SCHEMA)
    try:
        with tempfile.TemporaryDirectory(prefix="hw4-") as scratch:
            found = _checked(autograder, Path(scratch))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        found = failure(f"{error}.")
    seconds = round(time.monotonic() - started, 1)
    write_json(target, found | {"execution_time": seconds}, SCHEMA)


def _checked(autograder: Path, scratch: Path) -> dict[str, Any]:
    archive, written = submitted_archive(autograder / "submission", scratch), scratch / "results.json"
    command = [sys.executable, "main.py", "check-submission", str(archive), "--gradescope", str(written)]
    environment = {**os.environ, "HOME": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"}
    status = _run_unprivileged(command, autograder / "source", environment, scratch)
    if not written.is_file():
        return failure(f"the checker failed (exit status {status}). Ask your instructor.")
    return read_json(written, SCHEMA)


def _run_unprivileged(command: Sequence[str], folder: Path, environment: Mapping[str, str], scratch: Path) -> int:
    """Run a command as a user who owns nothing but the folder scratch, if this is root; returns its exit status."""
    if os.getuid() != 0:
        return subprocess.run(command, cwd=folder, env=environment, check=False).returncode
    user = pwd.getpwnam(USER)
    for path in [scratch, *scratch.iterdir()]:
        os.chown(path, user.pw_uid, user.pw_gid)
    return subprocess.run(
        command, cwd=folder, env=environment, check=False, user=user.pw_uid, group=user.pw_gid, extra_groups=[]
    ).returncode


if __name__ == "__main__":
    run(Path(sys.argv[1]))
