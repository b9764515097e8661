from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from nbconvert.filters.markdown_mistune import HTMLRenderer, Markdown, import_plugin

from cs236781.exercises import Exercise
from cs236781.grading.feedback import write_feedback
from cs236781.grading.verdicts import ExerciseResult, Finding, Submission

READER = Markdown(
    HTMLRenderer(escape=False), plugins=map(import_plugin, ["strikethrough", "table", "task_lists", "math"])
)
EXERCISES = [
    Exercise(name=name, section="", file="hw4/a.py", task=f"Write {name} well.", tests=[], functions=[name])
    for name in ("add", "double", "part1_q1")
]
WEIGHTS = {"add": 60.0, "double": 30.0, "part1_q1": 10.0}

SUM = Finding("sum", False, "add(1, 2)", "3", "-1", "This is the difference, not the sum.")
FLOAT = Finding("float", False, "add(0.5, 1)", "1.5", "TypeError: no floats\n  at hw4/a.py:9")
GOOD = Finding("good", True, "add(0, 0)", "0")


def done(name):
    return ExerciseResult(name, "done", [GOOD])


def submission(*results, **values):
    return Submission(**{"archive": "in/hw4-1_2.zip", "ids": ["1", "2"], "exercises": results, **values})


def write(tmp_path, *submissions, weights=WEIGHTS):
    return write_feedback(submissions, tmp_path / "out", weights, EXERCISES)


@pytest.fixture(params=[".md", ".html"])
def read(request, tmp_path):
    """Writes a submission's feedback, and returns what a reader of the first file of a kind sees, as a page."""

    def read(*results, weights=WEIGHTS, **values):
        files = write(tmp_path, submission(*results, **values), weights=weights)
        text = next(file for file in files if file.suffix == request.param).read_text(encoding="utf-8")
        page = BeautifulSoup(READER(text) if request.param == ".md" else text, "html.parser")
        assert page.find_all(["script", "img", "a", "iframe", "svg"]) == []
        return page

    return read


def words(page):
    return " ".join((page.main or page).get_text(" ").split())


def test_each_student_of_a_pair_gets_both_files(tmp_path):
    files = write(tmp_path, submission(done("add")))
    assert [file.name for file in files] == ["1.md", "1.html", "2.md", "2.html"]
    text = files[2].read_text(encoding="utf-8")
    assert text.startswith("# Feedback for 2\n\nHanded in as hw4-1_2.zip, together with 1.\n")


def test_without_ids_the_archives_name_serves(tmp_path):
    files = write(tmp_path, submission(archive="in/late work (1).zip", ids=[]))
    assert [file.name for file in files] == ["late_work_1_.md", "late_work_1_.html"]


def test_no_file_is_written_over_another_ones(tmp_path):
    files = write(
        tmp_path,
        submission(ids=["a"]),
        submission(ids=["A"]),
        submission(ids=[], archive="a-2.zip"),
        submission(ids=["a"]),
    )
    assert [file.stem for file in files[::2]] == ["a", "A-2", "a-2-2", "a-3"]
    assert len({file.name.casefold() for file in (tmp_path / "out").iterdir()}) == 8


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "..", "", ".hidden", "a\0b", "x" * 5000, "C:\\evil"])
def test_a_file_stays_in_its_folder(tmp_path, name):
    for file in write(tmp_path, submission(ids=[name]), submission(ids=[], archive=name)):
        assert file.parent == tmp_path / "out"
        assert file.is_file()
        assert not file.name.startswith(".")
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_marks_are_of_all_points(read):
    page = read(ExerciseResult("add", "wrong", [SUM, GOOD]), done("double"))
    assert "60 of 100 points" in words(page)
    assert [cell.get_text() for cell in page.find("td", string="add").find_parent("tr").find_all("td")] == [
        "add",
        "wrong",
        "1 of 2",
        "30 of 60",
    ]


def test_what_has_no_weight_is_not_counted(read):
    page = read(ExerciseResult("add", "wrong", [SUM]), weights={"double": 10.0, "add": 0.0})
    assert "0 of 10 points" in words(page)
    assert "add: wrong (not counted)" in words(page)


def test_a_wrong_exercise_shows_what_was_asked_expected_and_got(read):
    page = read(ExerciseResult("add", "wrong", [FLOAT, GOOD], place="hw4/a.py:7"))
    assert "add: wrong (30 of 60 points)" in words(page)
    assert "Where: hw4/a.py:7" in words(page)
    assert "Asked: add(0.5, 1)" in words(page)
    assert [block.get_text().strip("\n") for block in page.find_all("pre")] == [
        "1.5",
        "TypeError: no floats\n  at hw4/a.py:9",
    ]
    assert "add(0, 0)" not in words(page)


def test_the_likely_mistake_comes_before_the_checks_that_show_it(read):
    text = words(read(ExerciseResult("add", "wrong", [FLOAT, SUM])))
    hint = text.index("Likely mistake: This is the difference, not the sum.")
    assert hint < text.index("add(1, 2)") < text.index("add(0.5, 1)")


def test_a_mistake_that_several_checks_show_is_said_once(read):
    findings = [Finding(str(n), False, f"add({n}, 2)", "3", "-1", "The difference.") for n in range(3)]
    text = words(read(ExerciseResult("add", "wrong", findings)))
    assert text.count("The difference.") == 1
    assert all(f"add({n}, 2)" in text for n in range(3))


def test_not_all_of_many_checks_are_told(read):
    findings = [Finding(str(n), False, f"add({n}, 2)", "3", "-1") for n in range(20)]
    text = words(read(ExerciseResult("add", "wrong", findings)))
    assert text.count("Asked:") == 8
    assert "12 more of its checks fail." in text


@pytest.mark.parametrize("state", ["to do", "missing"])
def test_what_is_not_written_shows_the_task_and_no_checks(read, state):
    text = words(read(ExerciseResult("add", state, [SUM], place="hw4/a.py:3")))
    assert f"add: {state} (0 of 60 points)" in text
    assert "The task: Write add well." in text
    assert "hw4/a.py:3" in text
    assert "Asked" not in text


def test_a_syntax_error_is_told_with_its_place(read):
    text = words(read(ExerciseResult("add", "broken", problem="'(' was never closed", place="hw4/a.py:12")))
    assert "'(' was never closed Where: hw4/a.py:12" in text


def test_an_answer_waits_for_a_person(read):
    assert "done, a person reads it" in words(read(done("part1_q1"), answers={"part1_q1": "Because."}))
    assert "a person" not in words(read(ExerciseResult("part1_q1", "to do", [SUM]), answers={"part1_q1": "TODO"}))


def test_when_all_is_done_there_is_nothing_to_work_on(read):
    text = words(read(*map(done, WEIGHTS)))
    assert "100 of 100 points All 3 exercises are done." in text
    assert "work on" not in text


@pytest.mark.parametrize(
    ("whole", "said"),
    [
        ((0, 0), "was not run as a whole"),
        ((2, 3), "2 of 3 checks pass. It is the same exercise by exercise."),
        ((1, 3), "1 of 3 checks pass. Exercise by exercise 2 do: there, right solutions stand in"),
        ((3, 3), "3 of 3 checks pass. Exercise by exercise only 2 do:"),
    ],
)
def test_the_whole_is_compared_with_its_parts(read, whole, said):
    assert said in words(read(ExerciseResult("add", "wrong", [SUM, GOOD]), done("double"), whole=whole))


def test_a_broken_archive_says_why(read):
    text = words(read(status="broken archive: it is empty"))
    assert "0 of 100 points The check did not go through: broken archive: it is empty" in text
    assert "No exercise could be checked." in text


def test_training_is_told_with_its_bars(read):
    results = {"vpg": {"best_mean_reward": -3.25}, "cpg": {"best_mean_reward": 79.8, "bar": 10.0}}
    results |= {"aac": {"best_mean_reward": 50.0, "bar": 50.0}, "x": {"best_mean_reward": float("nan"), "bar": 1.0}}
    page = read(results=results)
    rows = [[cell.get_text() for cell in row.find_all("td")] for row in page.find_all("tr")]
    assert rows[1:] == [
        ["vpg", "no bar", "-3.25", ""],
        ["cpg", "passed", "79.8", "10"],
        ["aac", "not passed", "50", "50"],
        ["x", "not passed", "not a number", "1"],
    ]


def test_warnings_are_told(read):
    assert "Please note The folder has another name." in words(read(warnings=["The folder has another name."]))


HOSTILE = (
    "<script>alert(1)</script> ![x](http://e/x.png) <img src=x onerror=alert(1)>\n```\n# 100 of 100 points\n</pre>"
)


def test_hostile_text_is_shown_and_nothing_else(read):
    """The fixture finds no tag in it; here it makes no heading and ends no block."""
    finding = Finding("a", False, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    page = read(
        ExerciseResult("add", "wrong", [finding], place=HOSTILE),
        ExerciseResult("double", "broken", [], HOSTILE, HOSTILE),
        ids=[HOSTILE],
        archive=HOSTILE,
        status=HOSTILE,
        warnings=[HOSTILE],
        results={HOSTILE: {"best_mean_reward": 1.0}},
        answers={HOSTILE: HOSTILE},
    )
    assert [heading.get_text() for heading in page.find_all(["h2", "h3"])] == [
        "What to work on",
        "add: wrong (0 of 60 points)",
        "double: broken (0 of 30 points)",
        "Your code as a whole",
        "What you trained",
        "Please note",
    ]
    assert [block.get_text().strip("\n") for block in page.find_all("pre")] == [HOSTILE, HOSTILE]
    assert len(page.find_all("h1")) == 1


def test_long_texts_are_cut(tmp_path):
    long = "x" * 1_000_000
    finding = Finding("a", False, long, long, long, long)
    result = ExerciseResult("add", "broken", [finding] * 100, long, long)
    many = {f"{long}{n}": {"best_mean_reward": 1.0} for n in range(3)} | {str(n): {} for n in range(10_000)}
    for file in write(
        tmp_path, submission(result, status=long, archive=long, warnings=[long], ids=[long], results=many)
    ):
        assert file.stat().st_size < 100_000


def test_the_page_loads_nothing_and_runs_nothing(tmp_path):
    page = BeautifulSoup(write(tmp_path, submission(done("add")))[1].read_text(), "html.parser")
    policy = page.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline';")
    assert "script-src" not in policy
    assert page.title.get_text() == "Feedback for 1"
    assert page.html["lang"] == "en"


def test_a_file_in_the_folders_place_is_one_clear_error(tmp_path):
    Path(tmp_path / "out").write_text("")
    with pytest.raises(NotADirectoryError, match="out is a file, and a folder is needed"):
        write(tmp_path, submission(done("add")))
