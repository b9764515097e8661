"""Archives are checked as wholes here, against a small project; how they are unpacked is tested elsewhere."""

import json
import os
import shutil
import tempfile
import textwrap
import zipfile
from pathlib import Path

import pytest

from cs236781.grading import checking, sandbox
from cs236781.grading.checking import Limits, check_submissions
from cs236781.grading.sheet import table
from cs236781.grading.verdicts import Submission

LIMITS = Limits(seconds=1, megabytes=500)

PROJECT = {
    "hw4/__init__.py": "",
    "hw4/one.py": """
        def add(a, b):
            return a + b
        """,
    "hw4/two.py": """
        from hw4.one import add

        def double(a):
            return add(a, a)
        """,
    "hw4/answers.py": "answer = 'written'\n",
    "tests/exercises.toml": """
        [[exercise]]
        name = "add"
        section = "1"
        file = "hw4/one.py"
        task = "Add."
        tests = []

        [[exercise]]
        name = "double"
        section = "2"
        file = "hw4/two.py"
        task = "Double."
        tests = []

        [[exercise]]
        name = "answer"
        section = "3"
        file = "hw4/answers.py"
        task = "Answer."
        tests = []
        """,
    "tests/checks/asks.py": """
        def add(a, b):
            from hw4.one import add
            return add(a, b)

        def double(a):
            from hw4.two import double
            return double(a)

        def answer():
            from hw4.answers import answer
            return answer

        ASKS = {"add": add, "double": double, "answer": answer}
        """,
    "tests/checks/expects/__init__.py": """
        from cs236781.checks import Check, Mistake

        SUM = {"expected": lambda a, b: a + b, "mistakes": [Mistake("the difference", gives=lambda a, b: a - b)]}
        CHECKS = [
            Check("add", "by hand", "{a} + {b}", "add", {"a": 1, "b": 2}, **SUM),
            Check("add", "drawn", "{a} + {b}", "add", lambda g: {"a": g.random(), "b": g.randint(1, 9)}, **SUM),
            Check("double", "by hand", "2 * {a}", "double", {"a": 4}, lambda a: 8),
            Check("answer", "a text", "an answer", "answer", {}, lambda: "a text", right=lambda got: len(got) > 0),
            Check("", "the whole", "2 * 3", "double", {"a": 3}, lambda a: 6),
        ]
        """,
}


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_text(textwrap.dedent(text).lstrip("\n"))
    return root


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return write(tmp_path_factory.mktemp("project"), PROJECT)


def make(path, ids="1", **files):
    """An archive with the project's own package, but for these files of it; None leaves one out."""
    own = {name.removeprefix("hw4/").removesuffix(".py"): text for name, text in PROJECT.items() if "hw4" in name[:3]}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {**own, **files}.items():
            if text is not None:
                archive.writestr(f"hw4-{ids}/hw4/{name}.py", textwrap.dedent(text).lstrip("\n"))
    return path


def add(body, before=""):
    return (
        f"import os, signal, sys, time\n{before}\n\ndef add(a, b):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
    )


DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
return a + b
"""
INTO_ALL_DESCRIPTORS = """
for descriptor in range(3, 100):
    try:
        os.write(descriptor, b'{"nonce": "1", "value": 3}\\\\n[]\\\\nx\\\\n')
    except OSError:
        pass
return a + b
"""
ARCHIVES = {
    "right": {},
    "wrong": {"one": add("return a - b")},
    "to_do": {"one": add("raise NotImplementedError('add: an exercise, not written yet')")},
    "missing": {"one": "def plus(a, b):\n    return a + b\n", "two": "def double(a):\n    return 2 * a\n"},
    "syntax": {"one": "x = 1\n\ndef add(a, b:\n    return a + b\n"},
    "raises": {"one": add("x = 1\nreturn a + nothing")},
    "no_import": {"two": "import no_such_module\n\ndef double(a):\n    return 2 * a\n"},
    "endless": {"one": add("while True: pass")},
    "sleeps": {"one": add("time.sleep(600)")},
    "ignores": {
        "one": add(
            "while True: pass",
            "for number in (signal.SIGTERM, signal.SIGXCPU, signal.SIGINT): signal.signal(number, signal.SIG_IGN)",
        )
    },
    "exits": {"one": add("os._exit(0)")},
    "exits_by_name": {"one": add("sys.exit()")},
    "segfault": {"one": add("import ctypes; ctypes.string_at(0)")},
    "killed": {"one": add("os.kill(os.getpid(), signal.SIGKILL)")},
    "daemon": {"one": add(DAEMON)},
    "scribbles": {"one": add(INTO_ALL_DESCRIPTORS)},
    "closes": {"one": add("os.closerange(0, 1000)\nreturn a + b")},
    "kills_parent": {"one": add("os.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(600)")},
    "hog": {"one": add("return len(bytearray(1_000_000_000))")},
    "import_loop": {"__init__": "while True: pass\n"},
    "deletes": {"one": add("import shutil; shutil.rmtree(os.environ['HOME'] + '/..', ignore_errors=True); return 3")},
    "huge": {"one": add("return 'x' * 1_000_000")},
    "strange": {"one": add("return '\\\\ud800\\\\x1b[2J'")},
    "no_code": {"__init__": None, "readme": "x = 1\n"},
}


@pytest.fixture(scope="module")
def checked(project, tmp_path_factory):
    """The submissions of archives of every kind, by name, checked in one call."""
    folder = tmp_path_factory.mktemp("archives")
    archives = [make(folder / f"{name}.zip", "1_2", **files) for name, files in ARCHIVES.items()]
    whole = archives[0].read_bytes()
    for name, content in {"truncated": whole[:-40], "hw4-8_9": b"no archive", "outside": whole}.items():
        archives.append(folder / f"{name}.zip")
        archives[-1].write_bytes(content)
    with zipfile.ZipFile(folder / "outside.zip", "a") as archive:
        archive.writestr("../../outside", "x")
    submissions = check_submissions(archives, jobs=3, limits=LIMITS, project=project)
    assert [submission.archive for submission in submissions] == list(map(str, archives))
    return {Path(submission.archive).stem: submission for submission in submissions}


OK = ("done", "")
NO_END = "The code could not be run to its end: it did not end in time."


@pytest.mark.parametrize(
    ("name", "status", "of_add", "of_double"),
    [
        ("right", "ok", OK, OK),
        ("wrong", "ok", ("wrong", ""), OK),
        ("to_do", "ok", ("to do", "It is not written yet."), OK),
        ("missing", "ok", ("missing", "There is no add in hw4/one.py."), OK),
        ("syntax", "This is not valid Python, hw4/one.py", ("broken", "hw4/one.py: '(' was never closed"), OK),
        ("raises", "ok", ("wrong", ""), OK),
        ("no_import", "This cannot be imported, hw4/two.py", OK, ("broken", "No module named 'no_such_module'")),
        ("endless", "add: it did not end in time", ("broken", NO_END), OK),
        ("sleeps", "add: it did not end in time", ("broken", NO_END), OK),
        ("ignores", "add: it did not end in time", ("broken", NO_END), OK),
        ("exits", "add: it ended its process (exit status 0)", ("broken", "(exit status 0)"), OK),
        ("exits_by_name", "add: it ended its process (exit status 1)", ("broken", "(exit status 1)"), OK),
        ("segfault", "add: it ended its process (signal 11)", ("broken", "(signal 11)"), OK),
        ("killed", "add: it ended its process (signal 9)", ("broken", "(signal 9)"), OK),
        ("daemon", "it left processes running, which were ended", OK, OK),
        ("scribbles", "add: it wrote into the report", ("broken", "it wrote into the report"), OK),
        ("closes", "add: it ended its process", ("broken", "it ended its process"), OK),
        ("kills_parent", "it ended the process that asks it", ("broken", "The code could not be run"), OK),
        ("hog", "add: out of memory", ("wrong", ""), OK),
        ("import_loop", "add: it did not end in time", OK, OK),
        ("deletes", "", None, None),
        ("huge", "ok", ("wrong", ""), OK),
        ("strange", "ok", ("wrong", ""), OK),
    ],
)
def test_each_is_named_and_no_innocent_exercise_is_blamed(checked, name, status, of_add, of_double):
    """None: it may be done or not."""
    submission = checked[name]
    assert submission.status.startswith(status)
    for result, expected in zip(submission.exercises, (of_add, of_double), strict=False):
        if expected is not None:
            state, problem = expected
            assert (result.name, result.state) == (result.name, state)
            assert problem in result.problem
            assert bool(problem) == bool(result.problem)


@pytest.mark.parametrize(
    ("name", "ids", "status"),
    [
        ("truncated", (), "broken archive: not a complete zip file"),
        ("hw4-8_9", ("8", "9"), "broken archive: not a complete zip file"),
        ("outside", (), "broken archive: '../../outside' leads out"),
        ("no_code", (), "broken archive: it holds no package hw4"),
    ],
)
def test_a_broken_archive_is_named(checked, name, ids, status):
    submission = checked[name]
    assert submission.status.startswith(status)
    assert (tuple(submission.ids), list(submission.exercises)) == (ids, [])


def test_a_program_that_deletes_its_folder_is_told_or_judged(checked):
    """Where it can, it deletes what judges it too. Its own add is wrong either way."""
    submission = checked["deletes"]
    assert submission.exercises == [] or submission.exercises[0].state != "done"


def test_the_whole_is_counted(checked):
    assert checked["right"].whole == (5, 5)
    assert checked["wrong"].whole == (1, 5)


def test_ids_answers_and_a_name_that_differs(checked):
    submission = checked["right"]
    assert list(submission.ids) == ["1", "2"]
    assert submission.answers == {"answer": "written"}
    assert submission.warnings == ["the archive is named right.zip, and its folder hw4-1_2"]


def test_a_wrong_value_is_told_with_its_mistake_and_place(checked):
    result = checked["wrong"].exercises[0]
    by_hand = result.findings[0]
    assert (by_hand.asked, by_hand.expected, by_hand.got, by_hand.hint) == ("1 + 2", "3", "-1", "the difference")
    assert result.place == "hw4/one.py:4"
    assert result.fraction == 0.0


def test_an_exception_is_told_with_its_line(checked):
    result = checked["raises"].exercises[0]
    assert result.findings[0].got == "NameError: name 'nothing' is not defined (hw4/one.py:6)"
    assert result.place == "hw4/one.py:6"


def test_a_syntax_error_is_told_with_its_line(checked):
    assert checked["syntax"].exercises[0].place == "hw4/one.py:3"


def test_an_exercise_to_do_is_told_with_its_line(checked):
    assert checked["to_do"].exercises[0].place == "hw4/one.py:4"


def test_a_value_that_is_too_long_is_an_error(checked):
    assert checked["huge"].exercises[0].findings[0].got == "ValueError: the value is too long to be reported"


def test_all_that_is_told_can_be_written(checked):
    """Halves of characters, and what a terminal obeys."""
    for submission in checked.values():
        str(submission.as_json()).encode()
        assert submission.status.isprintable()


def test_nothing_is_left_behind(project, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    archive = make(tmp_path / "a.zip", one=add("open(os.environ['HOME'] + '/../x', 'w').close(); return 1"))
    (submission,) = check_submissions([archive], limits=LIMITS, project=project)
    assert submission.exercises[0].findings[0].got == "1"
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.skipif(not sandbox.bubblewrap(Path("/")), reason="this system has no bubblewrap, or forbids it")
def test_the_code_sees_nothing_that_knows_what_is_right(project, tmp_path):
    """Neither the checks, nor the reference, nor the archive's other files, nor those of another archive."""
    listing = """
        found = [os.path.join(folder, name) for root in ("/tmp", os.environ["HOME"] + "/..", os.getcwd())
                 for folder, _, names in os.walk(root) for name in names if not folder.startswith(sys.prefix)]
        told = [name for name in found if name.endswith(".py") and "return a +" + " b" in open(name).read()]
        raise ValueError(str(told + [name for name in found if "expects" in name or name.endswith(".zip")]))
        """
    archive = make(tmp_path / "a.zip", one=add(listing))
    (submission,) = check_submissions([archive], limits=LIMITS, project=project)
    assert submission.exercises[0].findings[0].got.startswith("ValueError: [] (hw4/one.py")


def test_without_bubblewrap_too(project, tmp_path, monkeypatch):
    """It may then delete the folders of the checker itself, and the other archives are checked all the same."""
    monkeypatch.setattr(sandbox, "_bubblewrap", tuple)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    spoil = "import glob, shutil\nfor path in glob.glob(os.environ['HOME'] + '/../../*'): shutil.rmtree(path, True)"
    archives = [
        make(tmp_path / "a.zip", one=add(f"{spoil}\nos._exit(0)")),
        make(tmp_path / "b.zip", one=add("return a - b")),
    ]
    spoilt, other = check_submissions(archives, limits=LIMITS, project=project)
    assert spoilt.status != "ok"
    assert (other.status, [result.state for result in other.exercises]) == ("ok", ["wrong", "done", "done"])


# --- many archives


def test_what_is_known_is_not_checked_again(project, tmp_path, monkeypatch):
    archives = [make(tmp_path / "a.zip"), make(tmp_path / "b.zip")]
    kept, finished = {}, []
    options = {"limits": LIMITS, "project": project, "known": kept.get, "keep": kept.__setitem__}
    found = check_submissions(archives, **options, finish=lambda *all_of_them: finished.append(all_of_them))
    assert [kept[path] for path in archives] == found
    assert finished == [(found, True)]
    monkeypatch.setattr(checking, "Sandbox", lambda *args: pytest.fail("something was run"))
    assert check_submissions(archives, **options) == found


def test_what_is_done_is_finished_on_ctrl_c(project, tmp_path):
    """The second archive is being checked at that time."""
    archives = [make(tmp_path / "a.zip"), make(tmp_path / "b.zip", one=add("time.sleep(600)"))]
    finished = []

    def interrupt(*_):
        raise KeyboardInterrupt

    options = {"jobs": 2, "limits": Limits(100, 500), "project": project, "keep": interrupt}
    with pytest.raises(KeyboardInterrupt):
        check_submissions(archives, **options, finish=lambda *those: finished.append(those))
    ((submissions, complete),) = finished
    assert [submission.archive for submission in submissions] == [str(archives[0])]
    assert not complete


def test_what_was_trained_is_read(project, tmp_path):
    def trained(folder):
        return {"cpg": {"best_mean_reward": float((folder / "hw4/mean.py").read_text())}}

    archive = make(tmp_path / "a.zip", mean="7.5")
    (submission,) = check_submissions([archive], limits=LIMITS, project=project, trained=trained)
    assert submission.results == {"cpg": {"best_mean_reward": 7.5}}


def test_a_missing_archive_is_said_before_anything_runs(project, tmp_path, monkeypatch):
    monkeypatch.setattr(checking, "Sandbox", lambda *args: pytest.fail("something was run"))
    with pytest.raises(FileNotFoundError, match=r"there is no archive .*missing\.zip"):
        check_submissions([make(tmp_path / "a.zip"), tmp_path / "missing.zip"], project=project)


@pytest.mark.parametrize(
    ("code", "problem"),
    [("def add(a, b):\n    return a - b\n", r"1 \+ 2: -1"), ("import os\nos._exit(1)\n", "exit status 1")],
)
def test_a_project_that_fails_its_own_checks(project, tmp_path, code, problem):
    broken = tmp_path / "project"
    shutil.copytree(project, broken)
    (broken / "hw4" / "one.py").write_text(code)
    with pytest.raises(RuntimeError, match=f"this project's own code fails its checks: .*{problem}"):
        check_submissions([make(tmp_path / "a.zip")], limits=LIMITS, project=broken)


def test_a_name_that_is_no_text_can_be_shown(project, tmp_path):
    """As students' names come out of a zip file whose encoding was guessed wrongly."""
    archive = tmp_path / os.fsdecode(b"hw4-\xff\x1b.zip")
    archive.write_text("no archive")
    submissions = check_submissions([archive], limits=LIMITS, project=project)
    assert "hw4-??.zip" in submissions[0].archive
    assert table(submissions, {"add": 1.0}).encode().decode().replace("\n", "").isprintable()


def test_results_are_plain_values(checked):
    for submission in checked.values():
        values = json.loads(json.dumps(submission.as_json()))
        assert json.loads(json.dumps(Submission.from_json(values).as_json())) == values


@pytest.mark.parametrize(("uid", "said"), [(0, True), (1000, False)])
def test_a_checker_who_is_root_is_told_what_that_means(monkeypatch, uid, said):
    """The system counts the processes of every user but root."""
    monkeypatch.setattr(checking.os, "getuid", lambda: uid)
    assert ("You are root" in checking.isolation()) is said


@pytest.mark.parametrize(
    ("wrap", "unshare", "said"),
    [
        (("bwrap",), ("unshare", "--pid"), "of files the system's and its own only"),
        ((), ("unshare", "--net", "--pid"), "The network was cut off, other processes out of reach"),
        ((), (), "The network was NOT cut off"),
    ],
)
def test_what_was_cut_off_is_said(monkeypatch, wrap, unshare, said):
    monkeypatch.setattr(checking, "bubblewrap", lambda folder: wrap)
    monkeypatch.setattr(checking, "namespaces", lambda: unshare)
    assert said in checking.isolation()
    assert ("install bubblewrap" in checking.isolation()) is not bool(wrap)
