from pathlib import Path

import pytest

from cs236781.exercises import Exercise, load_exercises
from cs236781.grading.weights import load_weights

ROOT = Path(__file__).resolve().parents[3]
EXERCISES = [
    Exercise(name=name, section="", file="", task="", tests=[], functions=[]) for name in ("Net", "Episode.q", "answer")
]


def load(tmp_path, text):
    file = tmp_path / "weights.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_weights(file, EXERCISES, tmp_path)


def test_the_projects_own_name_every_exercise_and_sum_to_100():
    exercises = load_exercises(ROOT)
    weights = load_weights(None, exercises, ROOT)
    assert list(weights) == [exercise.name for exercise in exercises]
    assert sum(weights.values()) == 100
    assert all(points > 0 for points in weights.values())


def test_an_exercise_that_is_not_named_is_worth_nothing(tmp_path):
    assert load(tmp_path, "[weights]\nanswer = 2.5\n") == {"Net": 0, "Episode.q": 0, "answer": 2.5}


def test_the_order_is_the_exercises(tmp_path):
    assert list(load(tmp_path, "[weights]\nanswer = 1\nNet = 2")) == ["Net", "Episode.q", "answer"]


@pytest.mark.parametrize("line", ['"Episode.q" = 3', "Episode.q = 3", '"Episode"."q" = 3'])
def test_a_name_with_a_dot_needs_no_quotes(tmp_path, line):
    assert load(tmp_path, f"[weights]\n{line}")["Episode.q"] == 3


def test_windows_files_are_read(tmp_path):
    assert load(tmp_path, b"\xef\xbb\xbf[weights]\r\nNet = 1\r\n")["Net"] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[weights]\nNett = 1", "'Nett', which is no exercise: give Net, Episode.q, answer"),
        ("[weights]\nEpisode = {}", "'Episode', which is no exercise"),
        ("[weights]\nEpisode.q.r = 1", "'Episode.q.r', which is no exercise"),
        ("[weights]\nNet = -1", "gives Net = -1: give a number"),
        ("[weights]\nNet = nan", "gives Net = nan"),
        ("[weights]\nNet = inf", "gives Net = inf"),
        (f"[weights]\nNet = 1{'0' * 400}", "gives Net = 1000"),
        (f"[weights]\nNet = 1{'0' * 5000}", "is not TOML"),
        ("[weights]\nNet = true", "gives Net = True"),
        ("[weights]\nNet = '5'", "gives Net = '5'"),
        ("[weights]\nNet = 0", "gives no points at all"),
        ("[weights]", "gives no points at all"),
        ("weights = 3", "one table [weights]"),
        ("Net = 3", "one table [weights]"),
        ("[weights]\nNet = 3\n[more]", "one table [weights]"),
        ("[weights\nNet = 3", "is not TOML"),
        (b"[weights]\nNet = 3 # \xff", "is not TOML"),
        ("a = " + "[" * 100_000, "is not TOML"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path, text, said):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        load(tmp_path, text)
    assert said in str(error.value)
    assert "weights.toml" in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.toml"):
        load_weights(tmp_path / "none.toml", EXERCISES, tmp_path)
