import dataclasses
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cs236781.distribution import without_solutions
from cs236781.exercises import Exercise, load_exercises
from cs236781.grading.transplant import look_at, main, read_sources, transplant

ROOT = Path(__file__).resolve().parents[3]


def exercise(name, file="hw4/one.py", **fields):
    return Exercise(
        **{"name": name, "section": "1", "file": file, "task": "", "tests": [], "functions": [name]} | fields
    )


ADD = exercise("add", helpers=["checked"])
DOUBLE = exercise("double")
GET = exercise("Box.get")
PUT = exercise("Box.put")
TEXT = exercise("text", "hw4/two.py")
EXERCISES = [ADD, DOUBLE, GET, PUT, TEXT]

GIVEN = {
    "one.py": """
        '''What is given.'''
        import math

        LIMIT = 10

        def checked(a):
            return min(a, LIMIT)

        def add(a, b):
            return checked(a) + checked(b)

        def double(a):
            return add(a, a)

        class Box:
            '''A box.'''

            size = 3

            def __init__(self, content):
                self.content = content

            def get(self):
                return self.content

            def put(self, content):
                self.content = content
                return self.get()
        """,
    "two.py": "text = 'the text'\n",
}
GIVEN = {name: textwrap.dedent(source).lstrip("\n") for name, source in GIVEN.items()}


def lines_of(one, student, keep_class=True, file="one.py"):
    """The lines of a file, with an exercise of a student's file one.py, or of several files."""
    student = student if isinstance(student, dict) else {"one.py": student}
    student = {name: textwrap.dedent(source).lstrip("\n") for name, source in student.items()}
    return transplant(GIVEN, student, one, EXERCISES, keep_class=keep_class)[file]


def names_of(*arguments, **options):
    """What the file defines."""
    names = {"__name__": "one"}
    exec("".join(line for line, _ in lines_of(*arguments, **options)), names)
    return names


# --- functions


def test_the_exercise_is_the_students_and_all_else_the_references():
    names = names_of(ADD, "def add(a, b):\n    return 100\n\ndef double(a):\n    return 7\n")
    assert names["add"](1, 2) == 100
    assert names["double"](1) == 100  # the reference's, by the student's add
    assert names["Box"](3).get() == 3


def test_what_is_not_judged_is_the_references():
    names = names_of(DOUBLE, "def add(a, b):\n    return 100\n\ndef double(a):\n    return add(a, a) + 1\n")
    assert names["add"](1, 2) == 3
    assert names["double"](1) == 3


def test_helpers_constants_and_imports_come_along():
    names = names_of(
        ADD,
        """
        from functools import reduce
        import operator as op

        ZERO = 0

        def total(numbers):
            return reduce(op.add, numbers, ZERO)

        class Sum:
            result = 0

        def add(a, b):
            Sum.result = total([a, b])
            return Sum.result
        """,
    )
    assert names["add"](20, 30) == 50
    assert names["double"](20) == 40


def test_a_helper_with_the_name_of_the_references():
    """Each is used by its own author's functions."""
    student = """
        def checked(a, b, c):
            return a + b + c

        def add(a, b):
            return checked(a, b, 100)
        """
    assert names_of(ADD, student)["add"](1, 2) == 103
    names = names_of(DOUBLE, student + "\n        def double(a):\n            return add(a, a)\n")
    assert names["double"](50) == 20  # twice the limit, by the reference's helper


def test_helpers_below_the_exercise_come_along():
    assert (
        names_of(ADD, "def add(a, b):\n    return plus(a, b)\n\ndef plus(a, b):\n    return a + b\n")["add"](20, 1)
        == 21
    )


def test_what_a_decorator_needs_comes_before_it():
    student = """
        def twice(function):
            return lambda *numbers: 2 * function(*numbers)

        @twice
        def add(a, b):
            return a + b
        """
    assert names_of(ADD, student)["add"](1, 2) == 6


def test_the_last_definition_counts():
    assert names_of(ADD, "def add(a, b):\n    return 1\n\ndef add(a, b):\n    return 2\n")["add"](0, 0) == 2


@pytest.mark.parametrize("student", ["add = lambda a, b: a - b\n", "add: object = lambda a, b: a - b\n"])
def test_a_function_that_is_assigned(student):
    assert names_of(ADD, student)["add"](5, 2) == 3


def test_what_only_a_program_does_stays_behind():
    student = "def add(a, b):\n    return 1\n\nprint(undefined)\n\nif __name__ == '__main__':\n    exit(undefined)\n"
    assert names_of(ADD, student)["add"](0, 0) == 1


def test_a_choice_of_helpers_comes_along():
    student = "try:\n    from nowhere import one\nexcept ImportError:\n    one = 1\n\ndef add(a, b):\n    return one\n"
    assert names_of(ADD, student)["add"](0, 0) == 1


def test_an_import_from_the_future_stays_first():
    student = "'''Mine.'''\nimport os\nfrom __future__ import annotations\n"  # as Python would not take it
    student = "'''Mine.'''\nfrom __future__ import annotations\nimport os\n\ndef add(a: Later, b):\n    return 1\n"
    assert names_of(ADD, student)["add"](0, 0) == 1


def test_a_constant():
    assert names_of(TEXT, {"two.py": "# mine\ntext = '''of\ntwo lines'''\n"}, file="two.py")["text"] == "of\ntwo lines"


def test_what_goes_together_with_an_exercise_stays_the_students():
    """An exercise that asks for it, in another file."""
    one = dataclasses.replace(ADD, together=["text"])
    student = {"one.py": "def add(a, b):\n    return 1\n", "two.py": "word = 'my'\ntext = word + ' text'\n"}
    assert names_of(one, student, file="two.py")["text"] == "my text"
    assert names_of(ADD, student, file="two.py")["text"] == "the text"


# --- methods

BOX = """
    class Box:
        def __init__(self, content):
            self.content = [content]

        def get(self):
            return self.content[0]

        def put(self, content):
            raise NotImplementedError
    """


def test_a_method_in_the_students_class():
    box = names_of(GET, BOX)["Box"](3)
    assert (box.get(), box.content) == (3, [3])
    assert box.size == 3  # the reference's, which the student's class lacks


def test_the_other_exercises_of_its_class_are_the_references():
    box = names_of(GET, BOX)["Box"](3)
    box.put([4])
    assert box.get() == 4


def test_a_method_in_the_references_class():
    names = names_of(GET, "class Box:\n    def get(self):\n        return -self.content\n", keep_class=False)
    box = names["Box"](3)
    assert box.get() == -3
    assert box.put(4) == -4


def test_helper_methods_come_along():
    student = """
        class Box:
            factor = 2

            def get(self):
                return self.twice(self.content)

            @classmethod
            def twice(cls, number):
                return cls.factor * number
        """
    for keep_class in (True, False):
        assert names_of(GET, student, keep_class=keep_class)["Box"](3).get() == 6


def test_decorators_belong_to_a_method():
    student = "class Box:\n    @staticmethod\n    def get():\n        return 5\n"
    for keep_class in (True, False):
        assert names_of(GET, student, keep_class=keep_class)["Box"](3).get() == 5


@pytest.mark.parametrize("indent", ["  ", "\t", "        "])
@pytest.mark.parametrize("keep_class", [True, False])
def test_other_indentation(indent, keep_class):
    student = f"class Box:\n{indent}def get(self):\n{indent * 2}if self:\n{indent * 3}return 7\n"
    box = names_of(GET, student, keep_class=keep_class)["Box"](3)
    assert box.get() == 7
    assert box.put(4) == 7


@pytest.mark.parametrize("student", ["class Box: pass\n", "class Box: get = lambda self: 1\n"])
@pytest.mark.parametrize("keep_class", [True, False])
def test_a_class_on_one_line(student, keep_class):
    assert "Box" in names_of(GET, student, keep_class=keep_class)


def test_a_text_over_several_lines_keeps_its_indentation():
    student = "class Box:\n  def get(self):\n    return '''a\nb\n  c'''\n"
    assert names_of(GET, student, keep_class=False)["Box"](3).get() == "a\nb\n  c"


# --- files


def test_an_exercise_in_another_file():
    student = {"two.py": "def plus(a, b):\n    return a + b\n\ndef add(a, b):\n    return plus(a, b)\n", "one.py": ""}
    assert names_of(ADD, student)["add"](50, 1) == 51


def test_the_students_own_files_come_along():
    student = {"one.py": "def add(a, b):\n    return 1\n", "mine/tools.py": "x = 1\n"}
    files = transplant(GIVEN, student, ADD, EXERCISES)
    assert files["mine/tools.py"] == [("x = 1\n", 1)]


def test_a_file_of_the_references_that_has_no_exercise_stays():
    given = {**GIVEN, "three.py": "x = 1\n"}
    student = {"one.py": "def add(a, b):\n    return 1\n", "three.py": "x = 2\n"}
    assert transplant(given, student, ADD, EXERCISES)["three.py"] == [("x = 1\n", 0)]


@pytest.mark.parametrize("student", ["", "def other():\n    pass\n", "def add(a, b:\n"])
def test_an_exercise_that_is_not_there(student):
    assert transplant(GIVEN, {"one.py": student, "two.py": "text = 'mine'\n"}, ADD, EXERCISES) is None


def test_a_syntax_error_in_one_file_leaves_the_others():
    student = {"one.py": "def add(a, b:\n", "two.py": "text = 'mine'\n"}
    assert names_of(TEXT, student, file="two.py")["text"] == "mine"
    assert names_of(TEXT, student, file="one.py")["add"](1, 2) == 3


def test_lines_lead_back_to_the_students():
    student = "import os\n\n\ndef plus(a, b):\n    return a + b\n\n\ndef add(a, b):\n    return plus(a, b)\n"
    lines = lines_of(ADD, student)
    for text, number in lines:
        if number:
            assert text == student.splitlines(keepends=True)[number - 1]
    assert [number for _, number in lines if number] == [1, 4, 5, 8, 9]
    assert [text for text, number in lines if "def " in text and number == 0] == [
        "def _given_checked(a):\n",
        "def double(a):\n",
        "    def __init__(self, content):\n",
        "    def get(self):\n",
        "    def put(self, content):\n",
    ]


@pytest.mark.parametrize("text", ["'\u2028\x85\x1c'", "1\f", "'''\r\n\r'''"])
def test_what_ends_no_line_of_pythons(text):
    """A form feed, and the separators that other software takes for the ends of lines."""
    student = f"ONE = {text}\n\f\ndef add(a, b):\n    return 1\n"
    assert names_of(ADD, student)["add"](0, 0) == 1


# --- what can be seen


def test_a_survey():
    sources = {
        "one.py": f"def double(a):\n    raise NotImplementedError('{DOUBLE.mark}')\n\nclass Box:\n    get = 1\n",
        "two.py": "x = 1\n@x\ndef add(a, b):\n    return 1\n",
        "three.py": "x = 1\ny = (\n",
    }
    survey = look_at(sources, EXERCISES)
    assert survey.places == {"add": "hw4/two.py:2", "double": "hw4/one.py:1", "Box.get": "hw4/one.py:5"}
    assert survey.missing == ["Box.put", "text"]
    assert survey.to_do == ["double"]
    assert survey.broken == {"three.py": (2, "'(' was never closed")}


@pytest.mark.parametrize("text", ["x = 1\0", "(" * 100_000, "-" * 100_000 + "1", "\\", "return = 1"])
def test_what_no_parser_takes(text):
    survey = look_at({"one.py": text, "two.py": "text = 'mine'\n"}, EXERCISES)
    assert list(survey.broken) == ["one.py"]
    assert survey.places == {"text": "hw4/two.py:1"}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("text = 'שלום'\n".encode(), "שלום"),
        (b"\xef\xbb\xbf" + "text = 'שלום'\n".encode(), "שלום"),
        ("# -*- coding: cp1255 -*-\ntext = 'שלום'\n".encode("cp1255"), "שלום"),
        ("#!/usr/bin/python\n# vim: set fileencoding=iso-8859-8 :\ntext = 'שלום'\n".encode("iso-8859-8"), "שלום"),
        (b"text = 'a'\r\n", "a"),
    ],
)
def test_encodings(tmp_path, data, text):
    """What is written again is UTF-8, which its declaration must not deny."""
    (tmp_path / "two.py").write_bytes(data)
    lines = transplant(GIVEN, read_sources(tmp_path), TEXT, EXERCISES)["two.py"]
    written = "".join(line for line, _ in lines).encode()
    names = {}
    exec(compile(written, "two.py", "exec"), names)
    assert names["text"] == text


@pytest.mark.parametrize("data", [b"text = '\xf9\xec'\n", b"# coding: nonsense\ntext = 1\n", b"text = '\xff\xfe'"])
def test_a_file_in_no_encoding_is_broken(tmp_path, data):
    (tmp_path / "two.py").write_bytes(data)
    assert list(look_at(read_sources(tmp_path), EXERCISES).broken) == ["two.py"]


def test_the_program(tmp_path):
    """It reads folders, and writes packages and a report."""
    table = "".join(
        f'[[exercise]]\nname = "{one.name}"\nsection = "1"\nfile = "{one.file}"\ntask = ""\ntests = []\n'
        for one in EXERCISES
    )
    student = {"one.py": "\ndef add(a, b):\n    return 1\n"}
    for folder, files in {"given": GIVEN, "student": student, "tests": {"exercises.toml": table}}.items():
        (tmp_path / folder).mkdir()
        for name, text in files.items():
            (tmp_path / folder / name).write_text(text)
    folders = [str(tmp_path / name) for name in ("", "given", "student", "out", "report.json")]
    main([*folders, "text", "add"])
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["survey"]["places"] == {"add": "hw4/one.py:2"}
    assert not (tmp_path / "out/0").exists()  # there is no text
    origins = report["origins"][2]
    assert list(origins) == ["one.py"]
    written = (tmp_path / "out/2/hw4/one.py").read_text().splitlines()
    assert [line for line, number in zip(written, origins["one.py"], strict=True) if number == 3] == ["    return 1"]
    assert report["fingerprints"].keys() <= {one.name for one in EXERCISES}


# --- the real project

PROGRAM = """
import json, random, sys
from pathlib import Path
from cs236781.checks import judge, load_asks, load_checks, Reply
from cs236781.grading.examiner import examine

root, folder = Path(sys.argv[1]), Path(sys.argv[2])
asks, checks = load_asks(root), load_checks(root)
for package in sorted(folder.iterdir()):
    name = package.name.split("-")[0]
    own = [check for check in checks if check.exercise == name]
    inputs = [check.draw(random.Random(0)) for check in own]
    questions = [[str(i), name, check.ask, inputs[i]] for i, check in enumerate(own)]
    request = {"package": str(package), "seconds": 60, "asks": questions}
    replies = {reply.get("nonce"): reply for reply in examine(asks, json.loads(json.dumps(request)))}
    for i, check in enumerate(own):
        reply = replies[str(i)]
        error = reply.get("error") or reply.get("ended", "")
        finding = judge(check, inputs[i], Reply(reply.get("value"), error, reply.get("place", "")))
        if not finding.passed:
            print(package.name, finding.name, finding.got[:200])
print("asked", len(list(folder.iterdir())))
"""


def test_the_projects_own_exercises_pass_among_themselves_and_alone(tmp_path):
    """Each exercise over itself; and each where all others raise NotImplementedError, which must not be its fault."""
    exercises = load_exercises(ROOT)
    given = {name: text for name, text in read_sources(ROOT / "hw4").items() if not name.startswith("study/")}
    emptied = {}
    for one in exercises:
        others = [dataclasses.replace(other, helpers=[]) for other in exercises if other is not one]
        file = one.file.removeprefix("hw4/")
        rest = [name for name in given if name != file and f"hw4/{name}" in {other.file for other in others}]
        for name in rest:
            emptied.setdefault(name, without_solutions(given[name], f"hw4/{name}", others))
        alone = {file: without_solutions(given[file], one.file, others), **{name: emptied[name] for name in rest}}
        made = {
            "whole": transplant(given, given, one, exercises),
            "alone": transplant(given, given | alone, one, exercises),
            "alone in the reference's class": transplant(given, given | alone, one, exercises, keep_class=False),
        }
        for kind, files in made.items():
            if kind in ("whole", "alone") or files != made["alone"]:
                for name, lines in files.items():
                    target = tmp_path / "made" / f"{one.name}-{kind}" / "hw4" / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_text("".join(text for text, _ in lines), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", PROGRAM, str(ROOT), str(tmp_path / "made")]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300)
    assert ended.stdout.splitlines() == [f"asked {len(list((tmp_path / 'made').iterdir()))}"], ended.stderr[-2000:]
    shutil.rmtree(tmp_path / "made")
