"""Mutation testing: how many small mistakes in the assignment's modules the tests notice.

    python benchmarks/mutants.py [--sample N]

Cosmic Ray changes one operator, number, condition, loop or exception at a time, in a copy of the repository. A mutant
is noticed if a test fails, or if the tests do not end. Left out are changes that Python does not compile, and changes
of nothing but annotations, decorators, f-strings and error messages. Printed are a line for each mutant as it is
tested, the mutants that survived, and a table. The same modules always give the same mutants, and the same sample.
"""

import argparse
import ast
import contextlib
import importlib
import multiprocessing as mp
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
MODULES = ("rl_data", "rl_pg", "rl_ac", "training")
TESTS = "tests/hw4"
UNRELATED_TESTS = {"study", "test_answers.py", "test_env.py", "test_files.py"}
SLOW_TESTS = ("test_loader.py", "test_train.py", "test_experiments.py")
TEST_SECONDS = 60  # the limit of one test; the longest takes a few seconds
# Imported once, in the process that each test run is a fork of: this saves half of a noticed mutant's time.
PRELOADED = ("beartype", "gymnasium", "hypothesis", "jaxtyping", "matplotlib.pyplot", "moviepy", "scipy.stats", "torch")


class Mutant(NamedTuple):
    """A changed module: its source, the number of the first line that differs, and that line before and after."""

    source: str
    line: int
    before: str
    after: str


class WithoutText(ast.NodeTransformer):
    """Takes out of a module what is no subject of these tests: what it says, to readers and in messages."""

    def visit_arguments(self, node: ast.arguments) -> ast.arguments:
        """Drop `/` and `*`, which Cosmic Ray takes for operators."""
        self.generic_visit(node)
        node.args = node.posonlyargs + node.args + node.kwonlyargs
        node.defaults += [default for default in node.kw_defaults if default is not None]
        node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        """Drop the annotation."""
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Drop the annotation and the decorators."""
        node.returns, node.decorator_list = None, []
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        """Drop the annotation."""
        node.annotation = ast.Constant(None)
        self.generic_visit(node)
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.Constant:
        """Drop an f-string's contents."""
        return ast.Constant("")

    def visit_Raise(self, node: ast.Raise) -> ast.Raise:
        """Drop an error's message."""
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return node


def meaning(source: str) -> str | None:
    """What a module does, in a form that can be compared; None if it does not compile."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            compile(source, "module", "exec")
            return ast.dump(WithoutText().visit(ast.parse(source)))
    except SyntaxError:
        return None


def mutants_of(source: str) -> Iterator[Mutant]:
    """Yield all mutants of a module that compile, and do something else than the module and than each other."""
    seen = {meaning(source), None}
    for name in operator_names():
        operator_type = get_operator(name)
        if operator_type.arguments():  # replaces variables that a configuration would have to name
            continue
        operator = operator_type()
        positions = sum(len(list(operator.mutation_positions(node))) for node in ast_nodes(get_ast(source)))
        for occurrence in range(positions):
            mutated = mutate_code(source, operator, occurrence)
            if meaning(mutated) not in seen:
                seen.add(meaning(mutated))
                lines = zip(source.splitlines(), mutated.splitlines(), strict=False)
                line, (before, after) = next((i, pair) for i, pair in enumerate(lines, start=1) if pair[0] != pair[1])
                yield Mutant(mutated, line, " ".join(before.split()), " ".join(after.split()))


def tests_of(module: str, copy: Path) -> list[str]:
    """The test files to run for a module: its own first, since they notice most, and the slow ones last."""
    files = [file.relative_to(copy) for file in (copy / TESTS).rglob("test_*.py")]
    related = [str(file) for file in files if UNRELATED_TESTS.isdisjoint(file.parts)]
    return sorted(related, key=lambda file: (file.endswith(SLOW_TESTS), not file.endswith(f"test_{module}.py"), file))


def run_pytest(tests: list[str], log: Path) -> None:
    """Run tests in this process until the first fails, with a log of what is said; end with pytest's status."""
    os.setsid()
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    status = pytest.main(["-q", "-x", "-n0", "--tb=no", "-rfE", f"--timeout={TEST_SECONDS}", *tests])
    sys.stdout.flush()
    os._exit(status)


def first_failure(tests: list[str], log: Path, seconds: float | None = None) -> str | None:
    """Run tests in a fork of this process; return the first failure's line, or None if all pass.

    :param seconds: how long they may take; without it, as long as they do.
    """
    process = mp.get_context("fork").Process(target=run_pytest, args=(tests, log))
    process.start()
    try:
        process.join(seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also what the tests may have left running
        process.join()
    if process.exitcode == 0:
        return None
    lines = log.read_text(errors="replace").splitlines()
    return next((line for line in lines if line.startswith(("FAILED", "ERROR"))), f"exit status {process.exitcode}")


def main() -> None:
    """Test the mutants of each module, and print what became of them."""
    parser = argparse.ArgumentParser(description="How many small mistakes the tests notice.")
    parser.add_argument("--sample", type=int, metavar="N", help="test N mutants of each module, drawn at random")
    sample = parser.parse_args().sample
    for name in PRELOADED:
        importlib.import_module(name)

    rows, survivors = [], []
    with tempfile.TemporaryDirectory() as folder:
        copy, log = Path(folder) / "copy", Path(folder) / "log"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "out"))
        os.chdir(copy)
        os.environ["PYTHONPATH"] = str(copy)  # the tests' own processes import the mutant too

        began = time.monotonic()
        if failure := first_failure(tests_of("", copy), log):
            raise SystemExit(f"the tests must pass before there are mutants: {failure}")
        seconds = 60 + 3 * (time.monotonic() - began)
        # Two mutants can have the same size and be written in the same second. Python would take one for the other.
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"

        for module in MODULES:
            file = f"hw4/{module}.py"
            source = Path(file).read_text()
            mutants = list(mutants_of(source))
            if sample is not None and sample < len(mutants):
                mutants = random.Random(0).sample(mutants, sample)
            survived = 0
            for mutant in sorted(mutants, key=lambda mutant: mutant.line):
                Path(file).write_text(mutant.source)
                failure = first_failure(tests_of(module, copy), log, seconds)
                change = f"{file}:{mutant.line}: {mutant.before}  ->  {mutant.after}"
                print(f"{change}\n    {failure or 'SURVIVED'}", flush=True)
                if failure is None:
                    survivors.append(change)
                    survived += 1
            Path(file).write_text(source)
            rows.append((file, len(mutants), len(mutants) - survived))

    rows.append(("all", *(sum(column) for column in list(zip(*rows, strict=True))[1:])))
    table = [(*row, row[2] / row[1]) for row in rows]
    print("\nSurvivors:", *survivors, sep="\n")
    print("\n" + tabulate(table, headers=("module", "mutants", "noticed", "fraction"), floatfmt=".3f"))


if __name__ == "__main__":
    main()
