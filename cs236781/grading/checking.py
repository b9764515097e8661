"""Checking what was handed in: the project's checks, put to the code of each archive.

    submissions = check_submissions(["hw4-1.zip", "hw4-2_3.zip"], jobs=2)

Each gives a Submission (see `verdicts`). The checks are those of `tests/checks`. All are put to the student's own code
as a whole. An exercise that fails there is judged once more with the reference's solution in the place of all others
(see `transplant`), so that no exercise pays for another's mistake. It passes a check if it does so either way.

Of an archive only the package `hw4` is used, and what it trained. Its code runs in sandboxes only (see `sandbox`), and
gives values. Whether they are right is decided here, where no code of a student ever runs.
"""

import json
import os
import random
import secrets
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cs236781 import unpacking
from cs236781.checks import ASKS, Check, Finding, Reply, judge, load_checks
from cs236781.exercises import TABLE, Exercise, load_exercises
from cs236781.grading.asking import Examiner
from cs236781.grading.sandbox import Limits, Sandbox, bubblewrap, namespaces, scratch_folder
from cs236781.grading.transplant import LENT
from cs236781.grading.verdicts import ExerciseResult, State, Submission

PROJECT = Path(__file__).resolve().parents[2]

LIMITS = Limits(seconds=5, megabytes=2000)  # of an exercise; all checks together take some two seconds
_OUT_OF_MEMORY = ("MemoryError", "allocate memory", "bad_alloc")
_IMPORT_ERRORS = ("ImportError", "ModuleNotFoundError")
_NOT_PYTHON, _NO_IMPORT = "This is not valid Python,", "This cannot be imported,"
_ENDED_EXAMINER = "it ended the process that asks it"

# What an archive's folder of results says was trained: see Submission.results.
Trained = Callable[[Path], dict[str, dict[str, float]]]


@dataclass
class _Asked:
    """A check that was put to some code, and what came of it.

    :param ended: how the code ended its process over it, in words; empty if it did not.
    """

    check: Check
    finding: Finding
    ended: str = ""
    place: str = ""
    value: Any = None
    error: bool = False

    @property
    def worth(self) -> tuple[bool, bool, bool]:
        """Of a check that was put more than once the largest is told: a pass, then a value, then a known mistake."""
        return self.finding.passed, not self.error, bool(self.finding.hint)


@dataclass
class _Code:
    """What is found about an archive's code on the way."""

    whole: dict[str, _Asked] = field(default_factory=dict)  # by the check's id
    grafted: dict[str, _Asked] = field(default_factory=dict)
    oddities: dict[str, None] = field(default_factory=dict)  # in their order
    survey: dict[str, Any] = field(default_factory=dict)
    fingerprints: dict[str, list[int]] = field(default_factory=dict)

    def passed(self, check: Check) -> bool:
        """Whether the code does as asked, either way."""
        return any(asked.finding.passed for asked in self.of(check))

    def of(self, check: Check) -> list[_Asked]:
        """Both times that it was asked, among the reference's other exercises first."""
        return [asked[check.id] for asked in (self.grafted, self.whole) if check.id in asked]


def check_submissions(
    archives: Sequence[str | Path],
    *,
    jobs: int = 1,
    limits: Limits = LIMITS,
    project: str | Path = PROJECT,
    trained: Trained = lambda folder: {},
    known: Callable[[Path], Submission | None] = lambda archive: None,
    keep: Callable[[Path, Submission], None] = lambda archive, submission: None,
    finish: Callable[[list[Submission], bool], None] = lambda submissions, complete: None,
) -> list[Submission]:
    """Check archives. What is wrong with one is in its status, and the others are checked all the same.

    :param archives: zip files that prepare-submission made; the submissions come in their order.
    :param jobs: archives checked at the same time.
    :param limits: for each exercise of an archive.
    :param project: the reference, with its checks and its exercises.
    :param trained: reads what was trained, from an archive's folder.
    :param known: a submission that was found before, or None.
    :param keep: gets each that is new, as soon as it is there.
    :param finish: gets all at the end, and True; on Ctrl-C those that are done, and False.
    :raises FileNotFoundError: an archive is missing (said before anything runs).
    :raises RuntimeError: the reference fails its own checks.
    """
    paths = [Path(archive) for archive in archives]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"there is no archive {path}")
    checker = _Checker(Path(project), limits, trained)
    found = {index: submission for index, path in enumerate(paths) if (submission := known(path)) is not None}
    if len(found) < len(paths):
        checker.check_reference()
    with (
        tqdm(total=len(paths), initial=len(found), desc="checking", unit="archive") as bar,
        ThreadPoolExecutor(jobs) as executor,
    ):
        checks = {executor.submit(checker.check, path): i for i, path in enumerate(paths) if i not in found}
        try:
            for done in as_completed(checks):
                index = checks[done]
                found[index] = done.result()
                keep(paths[index], found[index])
                bar.update()
        finally:
            checker.cancelled.set()  # all are done, or are not wanted any more
            executor.shutdown(cancel_futures=True)
            submissions = [found[index] for index in sorted(found)]
            finish(submissions, len(submissions) == len(paths))
    return submissions


def isolation() -> str:
    """One line about what this system lets the checker cut off."""
    as_root = " You are root, whose processes are NOT counted: code could start them without end."
    unbounded = as_root if os.getuid() == 0 else ""
    if bubblewrap(PROJECT):
        return f"The code saw no network, no other process, and of files the system's and its own only.{unbounded}"
    files = "It could read and write your files: install bubblewrap."
    options = namespaces()
    if not options:
        return f"The network was NOT cut off: this system has no unshare, or forbids it. {files}{unbounded}"
    hidden = ", other processes out of reach" if "--pid" in options else ""
    return f"The network was cut off{hidden}, but for sockets among files. {files}{unbounded}"


class _Checker:
    """The checks of one call of check_submissions."""

    def __init__(self, project: Path, limits: Limits, trained: Trained) -> None:
        self.cancelled = threading.Event()
        self._project, self._limits, self._trained = project, limits, trained
        self._exercises = load_exercises(project)
        self._checks = load_checks(project)

    def check_reference(self) -> None:
        """Put all checks to the project's own code.

        :raises RuntimeError: it fails one.
        """
        with scratch_folder() as folder:
            sandbox = self._laid_out(folder)
            shutil.copytree(self._project / "hw4", sandbox.folder / "code" / "hw4", ignore=_without_caches)
            code = _Code()
            with Examiner(sandbox, self._limits) as examiner:
                code.whole = self._ask(examiner, sandbox.folder / "code", self._checks, code)
        failed = [asked.finding for asked in code.whole.values() if not asked.finding.passed]
        if failed or code.oddities:
            reason = f"{failed[0].asked}: {failed[0].got}" if failed else next(iter(code.oddities))
            raise RuntimeError(f"this project's own code fails its checks: {reason}")

    def check(self, archive: Path) -> Submission:
        """Unpack an archive and check its code."""
        named = unpacking.FOLDER.fullmatch(archive.stem)
        ids = tuple(named[1].split("_")) if named else ()
        try:
            return self._checked(archive, ids)
        except OSError as error:  # a full disk; or code that is not kept from the checker's own folders
            reason = _printable(f"could not be checked: {type(error).__name__}: {error}")
            return Submission(_printable(str(archive)), ids, reason[:1000])

    def _checked(self, archive: Path, ids: Sequence[str]) -> Submission:
        with scratch_folder() as intake_folder, scratch_folder() as folder:
            intake = Sandbox(intake_folder, self.cancelled)  # where nothing of the archive's is run
            self._copy_tools(intake.folder / "lib")
            try:
                unpacked = self._unpack(intake, archive)
            except unpacking.ArchiveError as error:
                return Submission(_printable(str(archive)), ids, f"broken archive: {_printable(str(error))}"[:1000])
            handed_in = intake.folder / "archive" / f"hw4-{unpacked}"
            sandbox = self._laid_out(folder)
            shutil.copytree(handed_in / "hw4", sandbox.folder / "code" / "hw4", ignore=_without_caches)
            code = _Code()
            with Examiner(sandbox, self._limits) as examiner:
                code.whole = self._ask(examiner, sandbox.folder / "code", self._checks, code)
                self._judge_failed(examiner, sandbox, intake, handed_in / "hw4", code)
            results = self._trained(handed_in)
        warnings = []
        if archive.stem != f"hw4-{unpacked}":
            warnings.append(f"the archive is named {_printable(archive.name)}, and its folder hw4-{unpacked}")
        return self._submission(archive, tuple(unpacked.split("_")), code, results, warnings)

    def _judge_failed(
        self, examiner: Examiner, sandbox: Sandbox, intake: Sandbox, handed_in: Path, code: _Code
    ) -> None:
        """Look at the code, and judge the exercises that failed once more, among the reference's others."""
        failed = {check.exercise for check in self._checks if check.exercise and not code.passed(check)}
        exercises = [exercise for exercise in self._exercises if exercise.name in failed]
        report = self._transplant(intake, handed_in, exercises)
        code.survey = report.get("survey", {})
        code.fingerprints = report.get("fingerprints", {})
        if not report:
            code.oddities["its files could not be read"] = None
        for index, origins in enumerate(report.get("origins", [])):
            exercise = exercises[index // 2]
            checks = [one for one in self._checks if one.exercise == exercise.name and not code.passed(one)]
            ended = any(code.grafted[one.id].ended for one in checks if one.id in code.grafted)
            source = intake.folder / "out" / str(index) / "hw4"
            if not checks or ended or not source.is_dir() or exercise.name in code.survey["to_do"]:
                continue
            # There only while it is asked: no code may read the reference's solution of what it failed.
            target = sandbox.folder / f"graft-{secrets.token_hex(4)}"
            shutil.copytree(source, target / "hw4")
            try:
                own_place = code.survey["places"].get(exercise.name, "")
                place_in = partial(_place_in, origins=origins, own_place=own_place)
                asked = self._ask(examiner, target, checks, code, place_in)
            finally:
                shutil.rmtree(target, ignore_errors=True)
            for id_, one in asked.items():
                before = code.grafted.get(id_)
                if before is None or one.worth > before.worth:
                    code.grafted[id_] = one

    def _ask(
        self,
        examiner: Examiner,
        package: Path,
        checks: Sequence[Check],
        code: _Code,
        place_in: Callable[[str], str] = lambda place: place,
    ) -> dict[str, _Asked]:
        """Put checks to the code in a folder.

        :param place_in: the place in the student's file, of one in the folder's.
        """
        generator = random.Random(secrets.randbits(64))
        inputs = {check.id: check.draw(generator) for check in checks}
        nonces = {secrets.token_hex(8): check for check in checks}
        asks = [[nonce, check.exercise, check.ask, inputs[check.id]] for nonce, check in nonces.items()]
        asked: dict[str, _Asked] = {}

        def add(check: Check, reply: Reply) -> None:
            finding = judge(check, inputs[check.id], reply)
            asked[check.id] = _Asked(check, finding, "", reply.place, reply.value, reply.error != "")
            if any(sign in reply.error for sign in _OUT_OF_MEMORY):
                code.oddities[f"{check.exercise or 'the whole'}: out of memory"] = None

        def add_ended(check: Check, how: str) -> None:
            finding = judge(check, inputs[check.id], Reply(error=how))
            asked[check.id] = _Asked(check, replace(finding, hint=""), how, error=True)

        for message in examiner.reports(package, asks):
            if message.get("left"):
                code.oddities["it left processes running, which were ended"] = None
            check = nonces.get(str(message.get("nonce")))
            if check is None or check.id in asked:
                continue
            if message.get("ended"):
                how = str(message["ended"])[:100]
                code.oddities[f"{check.exercise or 'the whole'}: {how}"] = None
                add_ended(check, how)
            elif message.get("skipped"):
                add_ended(check, "not asked: an earlier question did not end as it should")
            else:
                place, error = str(message.get("place") or "")[:200], str(message.get("error") or "")[:1000]
                place = place_in(place) if place else ""
                add(check, Reply(message.get("value"), _printable(error), _printable(place)))
        for check in checks:  # it ended the examiner
            if check.id not in asked:
                code.oddities[_ENDED_EXAMINER] = None
                add_ended(check, _ENDED_EXAMINER)
        return asked

    def _submission(
        self,
        archive: Path,
        ids: Sequence[str],
        code: _Code,
        results: dict[str, dict[str, float]],
        warnings: Sequence[str],
    ) -> Submission:
        whole = [asked.finding.passed for asked in code.whole.values()]
        exercises = [self._result(exercise, code) for exercise in self._exercises]
        files = [one.problem.rstrip(".") for one in exercises if one.problem.startswith((_NOT_PYTHON, _NO_IMPORT))]
        answers = {
            check.exercise: asked.value
            for check in self._checks
            if check.ask == "answer" and (asked := code.whole[check.id]).finding.passed
        }
        return Submission(
            archive=_printable(str(archive)),
            ids=ids,
            status="; ".join(dict.fromkeys([*code.oddities, *files]))[:1000] or "ok",
            exercises=exercises,
            whole=(sum(whole), len(whole)),
            results=results,
            answers=answers,
            fingerprints=code.fingerprints,
            warnings=warnings,
        )

    def _result(self, exercise: Exercise, code: _Code) -> ExerciseResult:
        checks = [check for check in self._checks if check.exercise == exercise.name]
        asked = [max(code.of(check), key=lambda one: one.worth) for check in checks]
        findings = [one.finding for one in asked]
        survey = code.survey
        place = survey.get("places", {}).get(exercise.name, "")
        failed = [finding for finding in findings if not finding.passed]
        to_do = failed and all(finding.got.startswith("NotImplementedError") for finding in failed)
        if exercise.name in survey.get("to_do", ()) or to_do:
            return ExerciseResult(exercise.name, "to do", findings, "It is not written yet.", place)
        if not failed:
            return ExerciseResult(exercise.name, "done", findings)
        state: State = "broken"
        if broken := survey.get("broken", {}).get(exercise.file.removeprefix("hw4/")):
            line, reason = broken
            place = f"{exercise.file}:{line}"
            problem = f"{_NOT_PYTHON} {exercise.file}: {_printable(str(reason))[:300]}."
        elif exercise.name in survey.get("missing", ()) and len(failed) == len(findings):
            state, problem = "missing", f"There is no {exercise.functions[0]} in {exercise.file}."
        elif all(finding.got.startswith(_IMPORT_ERRORS) for finding in failed):
            place = next((one.place for one in asked if one.place), place)
            problem = f"{_NO_IMPORT} {exercise.file}: {failed[0].got[:300]}."
        elif how := next((one.ended for one in asked if one.ended), ""):
            problem = f"The code could not be run to its end: {how}."
        else:
            state, problem = "wrong", ""
            place = next((one.place for one in asked if not one.finding.passed and one.place), place)
        return ExerciseResult(exercise.name, state, findings, problem, place)

    def _unpack(self, sandbox: Sandbox, archive: Path) -> str:
        """Unpack into the sandbox's folder `archive`; returns the ids, or raises ArchiveError."""
        target = sandbox.folder / "archive"
        target.mkdir()
        brought = sandbox.folder / "brought.zip"
        shutil.copyfile(archive, brought)
        program = str(sandbox.folder / "lib" / "cs236781" / "unpacking.py")
        command = [sys.executable, "-I", "-S", program, str(brought), str(target)]
        outcome = sandbox.run(command, Limits(60, self._limits.megabytes))
        brought.unlink()
        if outcome.timed_out:
            raise unpacking.ArchiveError("it takes too long to unpack")
        last = outcome.output.strip().rpartition("\n")[2]
        if outcome.status == unpacking.REFUSED:
            raise unpacking.ArchiveError(last)
        if outcome.status != 0:
            raise unpacking.ArchiveError(f"not unpacked ({last[:300]})")
        if not (target / f"hw4-{last}" / "hw4" / "__init__.py").is_file():
            raise unpacking.ArchiveError("it holds no package hw4")
        return last

    def _laid_out(self, folder: Path) -> Sandbox:
        """A sandbox with the course's tools and the asks, and nothing that knows what is right."""
        sandbox = Sandbox(folder, self.cancelled)
        lib = sandbox.folder / "lib"
        self._copy_tools(lib)
        (lib / ASKS).parent.mkdir(parents=True)
        shutil.copyfile(self._project / ASKS, lib / ASKS)
        return sandbox

    def _copy_tools(self, lib: Path) -> None:
        """The modules of cs236781 that code in a sandbox needs, and of the grader's what runs there."""
        shutil.copytree(PROJECT / "cs236781", lib / "cs236781", ignore=shutil.ignore_patterns("grading", "__pycache__"))
        (lib / "cs236781/grading").mkdir()
        for name in ("__init__.py", "examiner.py", "similarity.py", "transplant.py"):
            shutil.copyfile(Path(__file__).with_name(name), lib / "cs236781/grading" / name)

    def _transplant(self, intake: Sandbox, handed_in: Path, exercises: Sequence[Exercise]) -> dict[str, Any]:
        """Look at the code, and make a package for each exercise; empty if that could not be done."""
        lib = intake.folder / "lib"
        (lib / TABLE).parent.mkdir()
        for table in (TABLE, LENT):
            if (self._project / table).is_file():
                shutil.copyfile(self._project / table, lib / table)
        ignored = shutil.ignore_patterns("__pycache__", "*.npz")
        shutil.copytree(self._project / "hw4", intake.folder / "reference", ignore=ignored)
        folders = [str(lib), "reference", str(handed_in), "out", "report.json"]
        names = [exercise.name for exercise in exercises]
        command = [sys.executable, "-m", "cs236781.grading.transplant", *folders, *names]
        outcome = intake.run(command, Limits(30, self._limits.megabytes), environment={"PYTHONPATH": str(lib)})
        if outcome.status != 0:
            return {}
        return dict(json.loads((intake.folder / "report.json").read_text()))


def _without_caches(_folder: str, names: list[str]) -> Iterator[str]:
    """What an archive brings along compiled need not be what its source says."""
    return (name for name in names if name == "__pycache__" or name.endswith((".pyc", ".so")))


def _place_in(place: str, origins: dict[str, list[int]], own_place: str) -> str:
    """A place in a package that was put together, in the student's file; its exercise's place otherwise."""
    file, _, number = place.removeprefix("hw4/").partition(":")
    lines = origins.get(file, [])
    if number.isdigit() and 0 < int(number) <= len(lines) and lines[int(number) - 1]:
        return f"hw4/{file}:{lines[int(number) - 1]}"
    return own_place


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
