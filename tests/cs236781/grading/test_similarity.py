import ast
import csv
import io
import json
import keyword
import math
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs236781.exercises import Exercise, load_exercises
from cs236781.grading import similarity
from cs236781.grading.similarity import OTHER, Pair, as_csv, as_markdown, fingerprints, pairs
from tests.hw4.test_other_solutions import students

ROOT = Path(__file__).resolve().parents[3]
EXERCISES = load_exercises(ROOT)
FILES = {function: exercise.file for exercise in EXERCISES for function in exercise.functions}
LOSS = Exercise("Loss.forward", "", "loss.py", "", [], ["Loss.forward"])

IMPORTS = """
import torch
import numpy as np
from hw4.rl_data import Episode
"""
BODY = """
log_pi = torch.log_softmax(scores, dim=1)
chosen = log_pi.gather(1, batch.actions.view(-1, 1)).squeeze(1)
scale = 0.5 * np.sqrt(len(batch))
loss = -(chosen * batch.q_vals).mean() * scale
return loss, {"loss": loss.item()}
"""


def module(body, imports=IMPORTS, arguments="self, batch, scores"):
    lines = "\n".join(f"        {line}" for line in body.strip().splitlines())
    return f"{imports}\nclass Loss:\n    def forward({arguments}):\n{lines}\n"


def found(source):
    numbers, notes = fingerprints({"loss.py": source}, [LOSS])
    assert notes == []
    assert numbers["Loss.forward"]
    return numbers["Loss.forward"]


TAKEN = {"torch", "np", "len", *keyword.kwlist}
NAME = st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True).filter(lambda name: name not in TAKEN)


@given(st.lists(NAME, min_size=7, max_size=7, unique=True))
def test_other_names_of_arguments_and_variables_change_nothing(names):
    old = ["self", "batch", "scores", "log_pi", "chosen", "scale", "loss"]

    class Rename(ast.NodeTransformer):
        def visit_Name(self, node):
            return ast.Name(dict(zip(old, names, strict=True)).get(node.id, node.id), node.ctx)

    body = ast.unparse(Rename().visit(ast.parse(BODY.replace("return", "result ="))))
    renamed = module(body.replace("result =", "return"), arguments=", ".join(names[:3]))
    assert found(renamed) == found(module(BODY))


@pytest.mark.parametrize(
    "other",
    [
        "scale: float = .50 * np.sqrt(len(batch))  # a comment",
        '"a text"\n\nscale   = (np.sqrt(len(batch)) * 5e-1)\npass',
    ],
)
def test_other_spellings_change_nothing(other):
    one = "scale = 0.5 * np.sqrt(len(batch))"
    assert one in BODY
    assert found(module(BODY.replace(one, other))) == found(module(BODY))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("if a > b: print(a + b * 2, sep=1, end=2)", "if b < a: print(2 * b + a, end=2, sep=1)"),
        ("a *= len(b)\nreturn max(a, b, key=len)", "a = a * len(b)\nreturn max(a, b, key=len)"),
        ("if a == len(b) + 1: print(a, b, a)", "if 1 + len(b) == a: print(a, b, a)"),
        ("x = {'loss': max(a), 'mean': min(b)}", "x = {'mean': min(b), 'loss': max(a)}"),
        ("raise ValueError(f'{a} is too large', a, b, a)", "raise ValueError(f'too large: {a}', a, b, a)"),
    ],
)
def test_what_can_be_swapped_changes_nothing(one, other):
    assert found(module(one, arguments="self, a, b")) == found(module(other, arguments="self, a, b"))


def test_the_order_of_independent_lines_changes_nothing():
    lines = BODY.strip().splitlines()
    assert found(module("\n".join([lines[2], *lines[:2], *lines[3:]]))) == found(module(BODY))


@pytest.mark.parametrize(
    "imports",
    [
        "import numpy as np, torch",
        "from hw4.rl_data import Episode as E\nimport torch\nimport numpy as np",
    ],
)
def test_imports_in_another_order_change_nothing(imports):
    assert found(module(BODY, imports)) == found(module(BODY))


def test_an_import_under_another_name_changes_nothing():
    assert found(module(BODY.replace("np.", "n."), "import numpy as n, torch")) == found(module(BODY))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("log_softmax", "softmax"),
        ("batch.q_vals", "batch.actions"),
        ("0.5", "0.25"),
        ("-(chosen * batch.q_vals)", "-(chosen + batch.q_vals)"),
        ("np.sqrt", "np.exp"),
    ],
)
def test_other_code_is_other_code(one, other):
    assert one in BODY
    assert found(module(BODY.replace(one, other))) != found(module(BODY))


def test_lines_that_need_each_other_are_not_swapped():
    ordered = "a = max(a, b, a, b)\nb = min(b, a, b, a)\nprint(a, b, a, b)"
    first, second, last = ordered.splitlines()
    arguments = "self, a, b"
    assert found(module(ordered, arguments=arguments)) != found(
        module("\n".join([second, first, last]), arguments=arguments)
    )


def test_helpers_count_as_other_code_under_any_name():
    helper = "def {}(a, b):\n    return sorted(max(a, b, key=abs), key=len)\n"
    results = [
        fingerprints({file: helper.format(name)}, [LOSS])[0] for file, name in [("loss.py", "f"), ("mine.py", "helper")]
    ]
    assert results[0] == results[1]
    assert list(results[0]) == [OTHER]


def test_a_methods_own_attributes_have_any_name():
    bodies = [f"self.{name} = [len(a), max(a, b)]\nreturn sorted(self.{name}, key=len)" for name in ("net", "layers")]
    one, other = (found(module(body, arguments="self, a, b")) for body in bodies)
    assert one == other


# --- what cannot be compared


@pytest.mark.parametrize(
    "source",
    [
        "def f(:",
        "x = '\0'",
        "x = '\udcff'",
        "(" * 5000,
        "-" * 20_000 + "1",
        "x = " + "1+" * 20_000 + "1",
        "a" + ".b" * 20_000,
        "x = 1\n" * 100_000,
    ],
    ids=["syntax", "null", "half a character", "brackets", "signs", "sum", "attributes", "length"],
)
def test_a_file_that_cannot_be_compared_is_left_out_with_a_note(source):
    numbers, notes = fingerprints({"bad.py": source, "loss.py": module(BODY)}, [LOSS])
    assert list(numbers) == ["Loss.forward"]
    assert len(notes) == 1
    assert notes[0].startswith("bad.py was not compared: ")


def test_many_files_are_compared_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(similarity, "MAX_SOURCES", 60)
    numbers, notes = fingerprints(dict.fromkeys("abc", "x = max(1, 2, 3, 4, 5, 6)\n"), [LOSS])
    assert list(numbers) == [OTHER]
    assert notes == ["c was not compared: it is too long"]


def test_an_exercises_file_comes_before_others(monkeypatch):
    monkeypatch.setattr(similarity, "MAX_SOURCES", len(module(BODY)))
    numbers, notes = fingerprints({"a.py": "x = 1\n", "loss.py": module(BODY)}, [LOSS])
    assert list(numbers) == ["Loss.forward"]
    assert notes == ["a.py was not compared: it is too long"]


def test_the_result_is_bounded_and_plain(monkeypatch):
    monkeypatch.setattr(similarity, "MAX_FINGERPRINTS", 2)
    bad = {f"{number}{'x' * 1000}.py": "(" for number in range(200)}
    numbers, notes = fingerprints({"loss.py": module(BODY), **bad}, [LOSS])
    assert json.loads(json.dumps([numbers, notes])) == [numbers, notes]
    assert {len(hashes) for hashes in numbers.values()} <= {1, 2}
    assert all(0 <= number < 2**48 for hashes in numbers.values() for number in hashes)
    assert len(notes) == similarity.MAX_NOTES
    assert max(map(len, notes)) <= 300


# --- pairs


def test_what_two_archives_share_is_weighed_by_rarity():
    """Of five archives, two share 40 fingerprints, each of weight log2(6 / 2), and all share one of log2(6 / 5).

    Another that all share is handed out, and counts nothing. Beside them each has ten of its own, of weight log2(6).
    All ten pairs share something, and no other as much as these two.
    """
    own = {name: set(range(1000 * number, 1000 * number + 10)) for number, name in enumerate("abcde", start=1)}
    archives = {name: {"f": numbers | {998, 999}} for name, numbers in own.items()}
    for name in "bd":
        archives[name]["f"] |= set(range(40))
    (pair,) = pairs(archives, common={999})
    shared = 40 * math.log2(3) + math.log2(6 / 5)
    assert (pair.first, pair.second) == ("b", "d")
    assert pair.suspicion == pytest.approx(shared, abs=0.1)
    assert pair.alike == {"f": pytest.approx(shared / (shared + 10 * math.log2(6)), abs=0.001)}


def test_what_is_the_same_for_everybody_names_nobody():
    assert pairs({str(number): {"f": set(range(200))} for number in range(100)}) == []


def test_what_a_tenth_of_a_class_hands_round_is_found():
    archives = {number: {"f": set(range(1000 * number, 1000 * number + 50))} for number in range(1, 101)}
    for number in range(1, 11):
        archives[number]["f"] = set(range(100))
    report = pairs({str(number): found for number, found in archives.items()})
    assert {name for pair in report for name in (pair.first, pair.second)} == set(map(str, range(1, 11)))
    assert len(report) == 45


def test_two_archives_are_compared_too():
    copies = {name: {"f": set(range(60))} for name in "ab"}
    assert [(pair.first, pair.second) for pair in pairs(copies)] == [("a", "b")]
    assert pairs({"a": {"f": set(range(60))}, "b": {"f": set(range(60, 120))}}) == []


@pytest.mark.parametrize(
    "archives", [{}, {"a": {}}, {"a": {"f": {1}}}, {"a": {}, "b": {}}, {"a": {"f": {1}}, "b": {"g": {1}}}]
)
def test_nothing_to_compare(archives):
    assert pairs(archives) == []


@pytest.fixture(scope="module")
def known():
    return similarity.given(ROOT)


def body_of(text):
    """The statements of a function's body. An `async def` may yield, return and await."""
    return ast.parse("async def f():\n" + textwrap.indent(text.strip(), "    ")).body[0].body


def project_with(solution):
    """This project's code with a solution in the place of its own."""
    files = {exercise.file for exercise in EXERCISES}
    trees = {file: ast.parse((ROOT / file).read_text()) for file in files}
    for function, body in solution.items():
        node = trees[FILES[function]]
        for part in function.split("."):
            node = next(child for child in node.body if getattr(child, "name", None) == part)
        node.body = body_of(body)
    return {file: ast.unparse(tree) for file, tree in trees.items()}


def disguised(solution):
    """A solution with other names for all variables, another layout, and comments."""
    result = {}
    for function, body in solution.items():
        tree = ast.Module(body_of(body), [])
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        bound = sorted({node.id for node in names if isinstance(node.ctx, ast.Store)})
        for node in names:
            if node.id in bound:
                node.id = f"my_{bound.index(node.id)}"
        result[function] = '"""My own work."""\n# all of it\n' + ast.unparse(tree)
    return result


def report_on(archives, known):
    return pairs({name: fingerprints(sources, EXERCISES)[0] for name, sources in archives.items()}, known)


def test_a_disguised_copy_is_found_among_right_solutions(known):
    archives = {f"student {number}": project_with(solution) for number, solution in enumerate(students())}
    archives["the copy"] = project_with(disguised(students()[0]))
    archives["our own"] = project_with({})
    report = report_on(archives, known)
    assert [(pair.first, pair.second) for pair in report] == [("student 0", "the copy")]
    assert set(report[0].alike.values()) == {1.0}
    assert {"PolicyAgent.step", "PolicyNet", "TrainBatch.from_episodes"} <= set(report[0].alike)


def test_a_few_copied_exercises_are_found(known):
    first, second, third = students()[:3]
    copied = ("TrainBatch.from_episodes", "TrainBatchDataset.episode_batch_generator", "PolicyAgent.monitor_episode")
    assert not third.keys() & set(copied)
    third = third | disguised({function: first[function] for function in copied})
    archives = dict(zip("abc", map(project_with, (first, second, third)), strict=True))
    (pair,) = report_on(archives, known)
    assert (pair.first, pair.second) == ("a", "c")
    assert set(pair.alike) == set(copied)


def test_an_answer_that_was_copied_is_found(known):
    words = [f"word{number}" for number in range(150)]
    texts = {
        "a": " ".join(words),
        "b": "So\n" + " ".join([*words[:60], "and", "also", *words[62:]]).replace("word5", "*Word5*"),
        "c": " ".join(sorted(words)),
    }
    archives = {name: {"hw4/answers.py": f'part1_q1 = r"""\n{text}\n"""\n'} for name, text in texts.items()}
    report = report_on(archives, known)
    assert [(pair.first, pair.second, list(pair.alike)) for pair in report] == [("a", "b", ["part1_q1"])]


# --- what is written

REPORT = [
    Pair("hw4-1.zip", "hw4-2_3.zip", 120.5, {"PolicyNet": 1.0, "part1_q1": 0.514}),
    Pair("a|b\n", "=c, d", 40.0, {OTHER: 0.75}),
]


def test_as_csv():
    assert list(csv.reader(io.StringIO(as_csv(REPORT)))) == [
        ["first", "second", "suspicion", "alike"],
        ["hw4-1.zip", "hw4-2_3.zip", "120.5", "PolicyNet 100%, part1_q1 51%"],
        ["a|b\n", "=c, d", "40.0", "other code 75%"],
    ]


def test_as_markdown():
    lines = as_markdown(REPORT, ["hw4-4.zip: <b> is no Python"]).splitlines()
    assert lines[4:] == [
        "| first | second | suspicion | alike |",
        "|---|---|---|---|",
        r"| hw4-1.zip | hw4-2\_3.zip | 120 | PolicyNet 100%, part1\_q1 51% |",
        r"| a\|b | =c, d | 40 | other code 75% |",
        "",
        "Left out:",
        "",
        r"- hw4-4.zip: \<b\> is no Python",
    ]


def test_a_page_without_pairs_says_so():
    assert as_markdown([]).splitlines()[-1] == "No pair stands out."
