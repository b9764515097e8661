import json
import os
import shutil
import sys
from dataclasses import replace

import pytest

from cs236781.grading import cache as module
from cs236781.grading.cache import Cache, digest
from cs236781.grading.verdicts import ExerciseResult, Finding, Submission

SUBMISSION = Submission(
    archive="handed-in/hw4-1_2.zip",
    ids=["1", "2"],
    status="code ended its process",
    exercises=[
        ExerciseResult(
            "Episode.calc_qvals", "wrong", [Finding("small", False, "asked", "1", "2", "a hint")], "", "a.py:3"
        ),
        ExerciseResult("PolicyNet", "done", [Finding("small", True, "asked", "1")]),
        ExerciseResult("AACPolicyNet", "missing", [], "no such class"),
    ],
    whole=(3, 7),
    results={"cpg": {"best_mean_reward": 79.5, "bar": 10.0}},
    answers={"part1_q1": "Ünïcode, and a half \ud800"},
    warnings=["a folder of another name"],
)


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "hw4-1_2.zip"
    path.write_bytes(b"PK and so on")
    return path


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "made" / "cache"


def entry(folder):
    (path,) = folder.iterdir()
    return path


def test_what_was_put_is_got(folder, archive):
    cache = Cache(folder, "digest")
    key = cache.key(archive)
    assert cache.get(key, archive) is None
    cache.put(key, SUBMISSION, keep=True)
    again = Cache(folder, "digest")
    assert again.get(again.key(archive), archive) == replace(SUBMISSION, archive=str(archive))
    assert cache.notes == again.notes == []


def test_what_is_not_to_be_kept_is_not(folder, archive):
    cache = Cache(folder, "digest")
    cache.put(cache.key(archive), SUBMISSION, keep=False)
    assert not folder.exists()


def test_another_folder_changes_no_key(tmp_path, folder, archive):
    (tmp_path / "other").mkdir()
    moved = shutil.copy(archive, tmp_path / "other")
    assert Cache(folder, "digest").key(moved) == Cache(folder, "digest").key(archive)


@pytest.mark.parametrize("change", ["bytes", "name", "digest"])
def test_what_decides_changes_the_key(folder, archive, change):
    before = Cache(folder, "digest").key(archive)
    if change == "bytes":
        archive.write_bytes(b"PK and so on.")
    if change == "name":
        archive = archive.rename(archive.with_name("hw4-2_1.zip"))
    assert Cache(folder, "other" if change == "digest" else "digest").key(archive) != before


def without(field):
    return lambda values: {name: value for name, value in values.items() if name != field}


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: "",
        lambda values: json.dumps(values)[:-1],
        lambda values: "[" * 10_000,
        lambda values: json.dumps(without("key")(values)),
        lambda values: json.dumps(values | {"key": "0" * 64}),
        lambda values: json.dumps(values | {"submission": without("status")(values["submission"])}),
        lambda values: json.dumps(values | {"submission": values["submission"] | {"more": 1}}),
        lambda values: json.dumps(values | {"submission": values["submission"] | {"ids": "12"}}),
        lambda values: json.dumps(values | {"submission": values["submission"] | {"whole": [1]}}),
        lambda values: json.dumps(values | {"submission": values["submission"] | {"exercises": [{"name": "a"}]}}),
        lambda values: json.dumps(values).replace('"wrong"', '"right"'),
        lambda values: json.dumps(values).replace("79.5", "NaN"),
    ],
    ids=range(12),
)
def test_a_damaged_entry_is_not_used_and_is_replaced(folder, archive, damage):
    cache = Cache(folder, "digest")
    key = cache.key(archive)
    cache.put(key, SUBMISSION, keep=True)
    path = entry(folder)
    whole = path.read_text()
    path.write_text(damage(json.loads(whole)))
    assert cache.get(key, archive) is None
    assert len(cache.notes) == 1
    assert cache.notes[0].startswith(f"an entry of the cache is not used: {path}")
    cache.put(key, SUBMISSION, keep=True)
    assert path.read_text() == whole


def test_an_entry_that_is_no_file_is_not_used(folder, archive):
    cache = Cache(folder, "digest")
    key = cache.key(archive)
    (folder / f"{key}.json").mkdir(parents=True)
    assert cache.get(key, archive) is None
    cache.put(key, SUBMISSION, keep=True)
    assert [note.partition(":")[0] for note in cache.notes] == [
        "an entry of the cache is not used",
        "handed-in/hw4-1_2.zip is not kept in the cache",
    ]


def test_what_json_cannot_hold_is_not_kept(folder, archive):
    cache = Cache(folder, "digest")
    cache.put(cache.key(archive), replace(SUBMISSION, results={"cpg": {"bar": float("nan")}}), keep=True)
    assert not folder.exists()
    assert len(cache.notes) == 1


def test_a_folder_that_cannot_be_written_is_said_at_once(archive):
    with pytest.raises(OSError, match=r"hw4-1_2.zip is a file, and a folder is needed"):
        Cache(archive, "digest")


# --- what decides a verdict


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    for name in ("cs236781/grading/checking.py", "hw4/rl_pg.py", "tests/exercises.toml", "main.py", "pyproject.toml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


@pytest.mark.parametrize(
    "name", ["cs236781/grading/checking.py", "hw4/rl_pg.py", "tests/exercises.toml", "main.py", "pyproject.toml"]
)
def test_the_digest_changes_with_each_file(project, name):
    before = digest(project, 60)
    (project / name).write_text("other")
    assert digest(project, 60) != before


def test_the_digest_changes_with_a_new_file_and_with_a_files_name(project):
    digests = [digest(project, 60)]
    (project / "tests" / "new.npz").write_bytes(b"")
    digests.append(digest(project, 60))
    (project / "tests" / "new.npz").rename(project / "tests" / "renamed.npz")
    digests.append(digest(project, 60))
    assert len(set(digests)) == 3


def test_the_digest_changes_with_limits_packages_and_python(project, monkeypatch):
    digests = [digest(project, 60), digest(project, 61)]
    monkeypatch.setattr(module, "distributions", list)
    digests.append(digest(project, 60))
    monkeypatch.setattr(sys, "version", "3.99")
    digests.append(digest(project, 60))
    assert len(set(digests)) == 4


def test_the_digest_does_not_change_with_what_decides_nothing(project):
    before = digest(project, 60)
    (project / "README.md").write_text("new")
    (project / "hw4" / "__pycache__").mkdir()
    (project / "hw4" / "__pycache__" / "rl_pg.pyc").write_bytes(b"compiled")
    os.utime(project / "main.py", (0, 0))
    assert digest(project, 60) == before
