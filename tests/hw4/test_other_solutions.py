"""Other ways to write the exercises: right ones pass their tests, and wrong ones do not.

A row of assets/solutions is one solution, which is written into a copy of hw4 in place of the project's own. Then the
tests of the exercises that it is of are run. Right ones are put together, as to run them takes seconds. Wrong ones are
run alone, and only those that ask for it; test_known_mistakes has all.
"""

import ast
import multiprocessing as mp
import os
import shutil
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from cs236781.exercises import load_exercises

ROOT = Path(__file__).resolve().parents[2]
RIGHT, WRONG = (
    tomllib.loads((ROOT / f"tests/assets/solutions/{kind}.toml").read_text()) for kind in ("right", "wrong")
)
WRONG = {name: row for name, row in WRONG.items() if row.get("tests")}
EXERCISES = {function: exercise for exercise in load_exercises(ROOT) for function in exercise.functions}

# Each is tried in a fork of a process that has imported what all need, but not hw4: annotation checkers remember a
# module's classes by their names.
CONTEXT = mp.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["gymnasium.envs.box2d", "hypothesis", "imageio_ffmpeg", "moviepy", "pygame", "scipy.stats", "torch", "pytest"]
)


def own_tests(solution):
    return list(dict.fromkeys(test for function in solution for test in EXERCISES[function].tests))


@pytest.mark.parametrize("name", WRONG)
def test_wrong(name, tmp_path):
    solution = {function: body for function, body in WRONG[name].items() if function in EXERCISES}
    failures = run(tmp_path, solution, own_tests(solution))
    assert len(failures) == 1
    assert failures[0].startswith("tests/")


def students():
    """Right solutions put together to as few as there can be."""
    together = []
    for solution in RIGHT.values():
        student = next((student for student in together if student.keys().isdisjoint(solution)), None)
        if student is None:
            together.append(dict(solution))
        else:
            student |= solution
    return together


@pytest.mark.parametrize("solution", students(), ids=len)
def test_right_ones_pass_and_train_together(solution, tmp_path):
    configurations = "tests/hw4/test_experiments.py::TestConfigurations::test_training_data"
    tests = dict.fromkeys([*own_tests(solution), configurations, "tests/hw4/test_training.py::TestLearns"])
    assert run(tmp_path, solution, list(tests)) == []


def with_body(source, function, body):
    """A module's source with another body of a function, whose signature and docstring stay."""
    node = ast.parse(source)
    for part in function.split("."):
        node = next(child for child in node.body if getattr(child, "name", None) == part)
    first = node.body[1 if ast.get_docstring(node) else 0]
    lines, indent = source.splitlines(), " " * first.col_offset
    lines[first.lineno - 1 : node.end_lineno] = textwrap.indent(body, indent).splitlines()
    return "\n".join(lines) + "\n"


def run(folder, solution, tests):
    """Run tests with a solution in place of the project's; returns the first that fails, in a list."""
    shutil.copytree(ROOT / "hw4", folder / "hw4", ignore=shutil.ignore_patterns("__pycache__", "study"))
    for function, body in solution.items():
        file = folder / EXERCISES[function].file
        file.write_text(with_body(file.read_text(), function, body))
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=run_pytest, args=(folder, tests, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return [f"it crashed: {(folder / 'log').read_text()}"]
    finally:
        process.join()


def run_pytest(folder, tests, sender):
    """In a process of its own."""
    sys.stdout, sys.stderr, sys.dont_write_bytecode = sys.__stdout__, sys.__stderr__, True
    with (folder / "log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.chdir(ROOT)
    failures = Failures()
    options = ["-qx", "--import-mode=importlib", "-pno:xdist", "-pno:cacheprovider", "-oaddopts=", "--disable-warnings"]
    status = pytest.main([*options, f"-opythonpath={folder}", f"--basetemp={folder}/temp", *tests], plugins=[failures])
    sender.send(failures.nodeids if status in (0, 1) else [f"pytest ended with status {status}"])


class Failures:
    """A plugin that takes down which tests fail."""

    def __init__(self):
        self.nodeids = []

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.nodeids.append(report.nodeid)

    pytest_collectreport = pytest_runtest_logreport
