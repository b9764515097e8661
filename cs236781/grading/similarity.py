"""Which archives are alike: fingerprints of the exercises' syntax trees, and the pairs that share rare ones.

    found, notes = fingerprints({"hw4/rl_pg.py": source}, exercises)     # of an archive; run it in a sandbox
    report = pairs({"hw4-1.zip": found, ...}, given(project))
    as_csv(report), as_markdown(report)

An exercise becomes a sequence of tokens: the nodes of its syntax tree, without what a copyist changes first. That is
the names of arguments, variables and helpers, texts, annotations, comments, the spelling of numbers, and the order of
what can be swapped. Names that come from libraries stay. Of the hashes of all K tokens in a row, winnowing keeps the
smallest in each window of W. So any K + W - 1 equal tokens in a row share one (Schleimer, Wilkerson and Aiken,
"Winnowing: local algorithms for document fingerprinting", SIGMOD 2003, the method of MOSS). The tokens of a written
answer are its words.

Right solutions of a short exercise look alike. So what the assignment or its solution holds does not count, and what
many students share counts little. A pair in the report is to be looked at by a person. It proves nothing.
"""

import ast
import builtins
import csv
import hashlib
import io
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from cs236781.distribution import without_solutions
from cs236781.exercises import Exercise, load_exercises

OTHER = "other code"  # what is written beside the exercises' functions: helpers, tables, modules of one's own

K = 8  # tokens of a hash
W = 4  # hashes of a window
MAX_SOURCE = 200_000  # characters of a file; the project's largest has a tenth
MAX_SOURCES = 400_000  # of all files together; they take seconds
MAX_BLOCK = 100  # statements; a longer block's stay in their order, since sorting compares each with each
MAX_FINGERPRINTS = 5_000  # of an exercise: the smallest, which are the same ones in a copy
MAX_NOTES = 100


Fingerprints = Mapping[str, Collection[int]]  # of each exercise, and of OTHER


def fingerprints(sources: Mapping[str, str], exercises: Sequence[Exercise]) -> tuple[dict[str, list[int]], list[str]]:
    """The fingerprints of an archive's code, and notes on what was left out.

    :param sources: the text of each Python file, by its path in the project. A text may be of any kind; but parsing a
        hostile one may end the process.
    :return: for each exercise that is there and for OTHER, numbers below 2**48 in order; and a sentence for each file
        that was left out.
    """
    owners = {(row.file, function): row.name for row in exercises for function in row.functions}
    found: defaultdict[str, set[int]] = defaultdict(set)
    notes: list[str] = []
    left = MAX_SOURCES
    written = {row.file for row in exercises}
    for file in sorted(
        sources, key=lambda file: (file not in written, file)
    ):  # padding elsewhere takes none of the room
        source = sources[file]
        if len(source) > min(MAX_SOURCE, left):
            notes.append(f"{file[:200]} was not compared: it is too long")
            continue
        left -= len(source)
        own: defaultdict[str, set[int]] = defaultdict(set)
        try:
            module = ast.parse(source)
            names = _Names(module)
            for name, unit in _units(module):
                own[owners.get((file, name), OTHER)] |= _of_unit(unit, names)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = "it is no Python" if isinstance(error, (SyntaxError, ValueError)) else "it is nested too deeply"
            notes.append(f"{file[:200]} was not compared: {reason}")
            continue
        for exercise, hashes in own.items():
            found[exercise] |= hashes
    return {exercise: sorted(hashes)[:MAX_FINGERPRINTS] for exercise, hashes in found.items()}, notes[:MAX_NOTES]


def given(project: Path) -> set[int]:
    """The fingerprints that are no evidence: of this project's solution, and of what students are handed out."""
    exercises = load_exercises(project)
    sources = {
        path.relative_to(project).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted((project / "hw4").rglob("*.py"))
    }
    handed_out = {file: without_solutions(source, file, exercises) for file, source in sources.items()}
    each = [
        fingerprints({file: source}, exercises)[0] for files in (sources, handed_out) for file, source in files.items()
    ]
    return {number for found in each for numbers in found.values() for number in numbers}


# --- comparing

# A pair is in the report if it shares this much, and if it stands out from the other pairs of a class: by this many
# times their usual deviation, which a few that copied do not change (the median absolute deviation, scaled as usual).
MIN_SUSPICION = 30.0
MIN_DEVIATIONS = 6.0
MIN_CLASS = 10  # archives; of fewer, there is nothing usual
# An exercise is alike if at least half of the smaller one's weight is shared, and that is more than a line.
MIN_ALIKE = 0.5
MIN_SHARED = 4.0
UNLIKE = 1000  # pairs that are imagined beside those of a class, so that in a small one, too, being alike is rare


@dataclass(frozen=True)
class Pair:
    """Two archives that share rare code.

    :param suspicion: the weight of what they share in the exercises that are alike. A fingerprint that n of N archives
        have weighs log2((N + 1) / n). An exercise in which other pairs share as much counts less: see `_rarity`.
    :param alike: the exercises that are alike, and how much: what they share of the smaller one's weight, at most 1.
    """

    first: str
    second: str
    suspicion: float
    alike: Mapping[str, float]


def pairs(archives: Mapping[str, Fingerprints], common: Collection[int] = ()) -> list[Pair]:
    """The pairs of archives to look at, the most suspicious first.

    :param archives: the fingerprints of each, by a label.
    :param common: what is no evidence: see `given`.
    """
    if len(archives) < 2:
        return []
    labels, common = list(archives), frozenset(common)
    kept = [{exercise: set(own) - common for exercise, own in archives[label].items()} for label in labels]
    counts = Counter(number for found in kept for number in set().union(*found.values()))
    upper = np.triu_indices(len(labels), 1)
    place = np.zeros((len(labels), len(labels)), dtype=int)  # of each pair in what a function of all pairs returns
    place[upper] = np.arange(len(upper[0]))
    suspicion = np.zeros(place.shape)
    alike: dict[str, np.ndarray] = {}
    for exercise in sorted({exercise for found in kept for exercise in found}):
        shared = _shared([found.get(exercise, set()) for found in kept], counts)
        own = shared.diagonal()
        part = shared / np.maximum(np.minimum(own[:, None], own), 1e-9)
        alike[exercise] = np.where((part >= MIN_ALIKE) & (shared >= MIN_SHARED), part, 0)
        suspicion += np.where(alike[exercise] > 0, shared, 0) * _rarity(shared[upper])[place]
    values = suspicion[upper]
    least = MIN_SUSPICION
    if len(labels) >= MIN_CLASS:
        usual = np.median(values)
        least = max(least, usual + MIN_DEVIATIONS * 1.4826 * np.median(np.abs(values - usual)))
    report = []
    for first, second in np.argwhere(np.triu(suspicion >= least, 1)):
        parts = {exercise: round(float(part[first, second]), 3) for exercise, part in alike.items()}
        inorder = sorted((exercise for exercise in parts if parts[exercise]), key=lambda name: (-parts[name], name))
        weight = round(float(suspicion[first, second]), 1)
        report.append(Pair(labels[first], labels[second], weight, {name: parts[name] for name in inorder}))
    return sorted(report, key=lambda pair: (-pair.suspicion, pair.first, pair.second))


def _shared(found: Sequence[Collection[int]], counts: Mapping[int, int]) -> np.ndarray:
    """The weight of what each archive shares with each, by their fingerprints of one exercise."""
    columns = {number: column for column, number in enumerate(set().union(*found))}
    rows = np.repeat(np.arange(len(found)), [len(own) for own in found])
    indices = [columns[number] for own in found for number in own]
    has = scipy.sparse.csr_array((np.ones(len(indices)), (rows, indices)), shape=(len(found), len(columns)))
    weights = np.log2((len(found) + 1) / np.array([counts[number] for number in columns], dtype=float))
    return ((has * weights) @ has.T).toarray().round(6)  # so that equal amounts are equal


def _rarity(values: np.ndarray) -> np.ndarray:
    """How rare it is that a pair has so large a value: 1 if no other has, and near 0 if all have.

    It is the logarithm of the part of the pairs that have, in units of the smallest part there can be. UNLIKE further
    pairs are imagined that have not.
    """
    imagined = len(values) + UNLIKE
    as_large = len(values) - np.searchsorted(np.sort(values), values)
    return np.log(imagined / as_large) / np.log(imagined)


def as_csv(report: Sequence[Pair]) -> str:
    """The pairs as a table: a row for each, with the exercises that are alike in one field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["first", "second", "suspicion", "alike"])
    writer.writerows([pair.first, pair.second, pair.suspicion, _list(pair)] for pair in report)
    return text.getvalue()


def as_markdown(report: Sequence[Pair], notes: Sequence[str] = ()) -> str:
    """The pairs as a page that says how to read it.

    :param notes: what was left out.
    """
    lines = [
        "# Pairs to look at",
        "",
        "The code of these pairs shares more than the assignment, its solution and the class explain. Names, texts, "
        "comments and the order of independent lines were not compared. It proves nothing: read both. *Suspicion* is "
        "the weight of what is shared; what few archives have weighs more. A percentage says how much of the smaller "
        "one's own code is in the other.",
        "",
    ]
    if report:
        lines += ["| first | second | suspicion | alike |", "|---|---|---|---|"]
        lines += [
            f"| {_escaped(pair.first)} | {_escaped(pair.second)} | {pair.suspicion:.0f} | {_escaped(_list(pair))} |"
            for pair in report
        ]
    else:
        lines.append("No pair stands out.")
    if notes:
        lines += ["", "Left out:", "", *(f"- {_escaped(note)}" for note in notes)]
    return "\n".join(lines) + "\n"


def _list(pair: Pair) -> str:
    return ", ".join(f"{exercise} {part:.0%}" for exercise, part in pair.alike.items())


def _escaped(text: str) -> str:
    """A text on one line, with no meaning to Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>()#|!~&])", r"\\\1", " ".join(text.split()))


# --- from a module to tokens


def _units(module: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    """What a module defines, and the name of each: functions, methods, assignments; empty for other statements."""
    for statement in module.body:
        if isinstance(statement, ast.ClassDef):
            for inner in statement.body:
                yield f"{statement.name}.{_name(inner)}", inner
        elif not isinstance(statement, (ast.Import, ast.ImportFrom)):
            yield _name(statement), statement


def _name(statement: ast.stmt) -> str:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return statement.name
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    return ""


def _of_unit(unit: ast.stmt, names: "_Names") -> set[int]:
    if isinstance(unit, (ast.Assign, ast.AnnAssign, ast.Expr)) and isinstance(unit.value, ast.Constant):
        value = unit.value.value
        if isinstance(unit, ast.Assign) and isinstance(value, str):
            return _winnowed(re.findall(r"\w+", value.casefold()))
        return set()  # a docstring, a number: no code
    local = names.within(unit)
    body = unit.body if isinstance(unit, (ast.FunctionDef, ast.AsyncFunctionDef)) else [unit]
    return _winnowed(_Tokens(local).block(body))


def _winnowed(tokens: Sequence[str]) -> set[int]:
    """A sequence's fingerprints. One of fewer than K tokens has none: it would be everybody's."""
    hashes = [_hash(tokens[start : start + K]) for start in range(len(tokens) - K + 1)]
    return {min(hashes[start : start + W]) for start in range(max(1, len(hashes) - W + 1))} if hashes else set()


def _hash(tokens: Sequence[str]) -> int:
    digest = hashlib.blake2b("\0".join(tokens).encode(errors="replace"), digest_size=6).digest()
    return int.from_bytes(digest, "big")


class _Names:
    """What the names in a module stand for: a library's by its full name, those of one's own by none."""

    def __init__(self, module: ast.Module) -> None:
        self.meanings: dict[str, str] = {}
        self.attributes: set[str] = set()  # that the module sets
        for statement in module.body:
            self._take_imports(statement)
        for node in ast.walk(module):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                self.attributes.add(node.attr)
        for statement in module.body:
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                self.meanings[statement.name] = "own"
            elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
                for node in ast.walk(statement):
                    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                        self.meanings[node.id] = "own"

    def within(self, unit: ast.stmt) -> "_Names":
        """The same, with the names that a function binds."""
        names = _Names(ast.Module([], []))
        names.meanings, names.attributes = dict(self.meanings), self.attributes
        if not isinstance(unit, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return names
        for node in ast.walk(unit):
            if isinstance(node, ast.arg):
                names.meanings[node.arg] = "local"
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.meanings[node.id] = "local"
            elif isinstance(node, _NAMED) and node.name:
                names.meanings[node.name] = "local"
            else:
                names._take_imports(node)
        return names

    def _take_imports(self, node: ast.AST) -> None:
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            return
        module = (node.module or "") + "." if isinstance(node, ast.ImportFrom) else ""
        own = module.startswith("hw4.") or (isinstance(node, ast.ImportFrom) and node.level > 0)
        for alias in node.names:
            origin = module + (alias.name if alias.asname or module else alias.name.partition(".")[0])
            self.meanings[alias.asname or alias.name.partition(".")[0]] = "own" if own else origin

    def __getitem__(self, name: str) -> str:
        return self.meanings.get(name, name if hasattr(builtins, name) else "unknown")


_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)
_SWAPPED = {ast.Gt: ast.Lt, ast.GtE: ast.LtE}
_COMMUTATIVE = (ast.Add, ast.Mult, ast.BitOr, ast.BitAnd, ast.BitXor)
_ENDS = (ast.Return, ast.Raise, ast.Break, ast.Continue, ast.Yield, ast.YieldFrom, ast.Await)


class _Tokens:
    """The tokens of a unit's statements and expressions."""

    def __init__(self, names: _Names) -> None:
        self._names = names

    def block(self, statements: Sequence[ast.stmt]) -> list[str]:
        """The tokens of statements, in an order that does not depend on how independent ones are arranged.

        Of the statements that could come next, the one whose tokens come first in the alphabet does.
        """
        each = [(tokens, *self._uses(node)) for node in statements if (tokens := self._of(node))]
        if len(each) > MAX_BLOCK:
            return [token for tokens, _, _ in each for token in tokens]
        waits = [
            {before for before in range(number) if _depend(each[before], each[number])} for number in range(len(each))
        ]
        ordered: list[str] = []
        todo = set(range(len(each)))
        while todo:
            number = min((n for n in todo if not waits[n] & todo), key=lambda n: each[n][0])
            todo.remove(number)
            ordered += each[number][0]
        return ordered

    def _of(self, node: Any) -> list[str]:
        """The tokens of a node; none of what is no code."""
        if isinstance(node, list):
            if node and isinstance(node[0], ast.stmt):
                return self.block(node)
            return [token for item in node for token in self._of(item)]
        if not isinstance(node, ast.AST):  # a number, or the name of what a pattern binds
            return [] if node is None else ["name" if isinstance(node, str) else str(node)]
        kind = type(node).__name__
        method = getattr(self, f"_of_{kind.lower()}", None)
        if method is not None:
            return method(node)
        fields = [getattr(node, name, None) for name in node._fields if name not in ("ctx", "type_comment", "kind")]
        return [kind, *(token for field in fields for token in self._of(field))]

    def _of_name(self, node: ast.Name) -> list[str]:
        return [self._names[node.id]]

    def _of_attribute(self, node: ast.Attribute) -> list[str]:
        name = "own" if node.attr in self._names.attributes else node.attr
        return [f".{name}", *self._of(node.value)]

    def _of_constant(self, node: ast.Constant) -> list[str]:
        value = node.value
        if isinstance(value, str):  # a key or the name of an argument, or else a text
            return [repr(value) if value.isidentifier() else "text"]
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
            value = float(value)
        return [repr(value)]

    def _of_joinedstr(self, node: ast.JoinedStr) -> list[str]:
        return ["text", *self._of([part for part in node.values if isinstance(part, ast.FormattedValue)])]

    def _of_expr(self, node: ast.Expr) -> list[str]:
        return [] if isinstance(node.value, ast.Constant) else self._of(node.value)

    def _of_pass(self, _: ast.Pass) -> list[str]:
        return []

    def _of_import(self, _: ast.AST) -> list[str]:
        return []

    _of_importfrom = _of_global = _of_nonlocal = _of_import

    def _of_arg(self, _: ast.arg) -> list[str]:
        return ["arg"]

    def _of_functiondef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
        return ["def", *self._of(node.decorator_list), *self._of(node.args), *self.block(node.body)]

    _of_asyncfunctiondef = _of_functiondef

    def _of_classdef(self, node: ast.ClassDef) -> list[str]:
        return ["class", *self._of(node.bases), *self.block(node.body)]

    def _of_excepthandler(self, node: ast.ExceptHandler) -> list[str]:
        return ["except", *self._of(node.type), *self.block(node.body)]

    def _of_annassign(self, node: ast.AnnAssign) -> list[str]:
        return ["Assign", *self._of(node.target), *self._of(node.value)] if node.value is not None else []

    def _of_augassign(self, node: ast.AugAssign) -> list[str]:
        changed = ast.BinOp(node.target, node.op, node.value)
        return ["Assign", *self._of(node.target), *self._of(changed)]

    def _of_binop(self, node: ast.BinOp) -> list[str]:
        parts: list[ast.expr] = [node]
        if isinstance(node.op, _COMMUTATIVE):
            while isinstance(parts[0], ast.BinOp) and type(parts[0].op) is type(node.op):
                parts[:1] = [parts[0].left, parts[0].right]
            operands = sorted(map(self._of, parts))
        else:
            operands = [self._of(node.left), self._of(node.right)]
        return [type(node.op).__name__, *(token for operand in operands for token in operand)]

    def _of_compare(self, node: ast.Compare) -> list[str]:
        operator = type(node.ops[0])
        sides = [self._of(node.left), self._of(node.comparators[0])]
        if len(node.ops) > 1:
            return ["Compare", *sides[0], *self._of(node.ops), *self._of(node.comparators)]
        if operator in _SWAPPED:
            operator, sides = _SWAPPED[operator], sides[::-1]
        if operator in (ast.Eq, ast.NotEq):
            sides.sort()
        return [operator.__name__, *sides[0], *sides[1]]

    def _of_call(self, node: ast.Call) -> list[str]:
        keywords = sorted([f"{word.arg}=", *self._of(word.value)] for word in node.keywords)
        return ["Call", *self._of(node.func), *self._of(node.args), *(token for word in keywords for token in word)]

    def _of_dict(self, node: ast.Dict) -> list[str]:
        items = sorted(self._of(key) + self._of(value) for key, value in zip(node.keys, node.values, strict=True))
        return ["Dict", *(token for item in items for token in item)]

    def _uses(self, statement: ast.stmt) -> tuple[set[str], set[str] | None]:
        """The variables that a statement reads, and those that it changes; None if it must stay where it is.

        A method that is called may change its object. `self.a` and `self.b` are two variables.
        """
        reads: set[str] = set()
        writes: set[str] = set()
        for node in ast.walk(statement):
            if isinstance(node, _ENDS):
                return reads, None
            if isinstance(node, ast.Name) and self._names[node.id] in ("local", "own"):
                (reads if isinstance(node.ctx, ast.Load) else writes).add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                (reads if isinstance(node.ctx, ast.Load) else writes).add(f"{node.value.id}.{node.attr}")
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                writes |= self._object(node.func.value)
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                writes.add(node.name)
            if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
                writes |= self._object(node.value)
            if isinstance(node, ast.AugAssign):
                reads |= self._object(node.target)
        return reads, writes

    def _object(self, node: ast.expr) -> set[str]:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return {f"{node.value.id}.{node.attr}"} if self._names[node.value.id] == "local" else set()
        if isinstance(node, ast.Name) and self._names[node.id] == "local":
            return {node.id}
        return set()


_Uses = tuple[list[str], set[str], set[str] | None]


def _depend(first: _Uses, second: _Uses) -> bool:
    """Whether two statements may not be swapped."""
    (_, reads, writes), (_, later_reads, later_writes) = first, second
    if writes is None or later_writes is None:
        return True
    return bool(writes & (later_reads | later_writes) or later_writes & reads)
