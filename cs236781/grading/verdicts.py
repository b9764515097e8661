"""What checking an archive finds: the data that marks, sheets and feedback are made of.

    Submission        an archive: whose it is, whether it could be checked, and an ExerciseResult of each exercise
    ExerciseResult    done, wrong, to do, missing or broken; and a Finding of each of its checks
    Finding           one check: what was asked, what was expected, what came, and the known mistake that gives that

All are plain values, which JSON can hold (`as_json`, `from_json`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cs236781.checks import Finding

# done: every check passes; wrong: some do not; to do: it raises NotImplementedError, or its text is the placeholder;
# missing: the code has no such function; broken: it could not be run to its end, or its file is no Python.
State = Literal["done", "wrong", "to do", "missing", "broken"]


@dataclass(frozen=True)
class ExerciseResult:
    """What was found about an exercise.

    :param problem: why it is missing or broken, in a sentence; empty otherwise.
    :param place: file:line, where known; of a syntax error, of an exception, or of a function that is to do.
    """

    name: str
    state: State
    findings: Sequence[Finding] = ()
    problem: str = ""
    place: str = ""

    @property
    def fraction(self) -> float:
        """The part of its checks that pass, between 0 and 1; 0 for what is as it was handed out."""
        if self.state == "to do":
            return 0.0
        return sum(finding.passed for finding in self.findings) / len(self.findings) if self.findings else 0.0


@dataclass(frozen=True)
class Submission:
    """An archive that was checked.

    :param archive: its path, as given.
    :param ids: of its students, in the order of its name.
    :param status: "ok", or what a person has to look at: a broken archive, code that ends its process.
    :param exercises: a result for each exercise, in the table's order; empty for a broken archive.
    :param whole: how many of all checks pass with the student's own code alone, and how many there are.
    :param results: the best mean reward of each configuration that was trained, by name; with a bar, also whether it
        was passed: {"cpg": {"best_mean_reward": 79.8, "bar": 10.0}}.
    :param answers: the answers to the questions, by name, in Markdown; what is not written is left out.
    :param fingerprints: of the code, by exercise: see `similarity`.
    :param warnings: what is odd and costs nothing: a folder of another name than the archive.
    """

    archive: str
    ids: Sequence[str]
    status: str = "ok"
    exercises: Sequence[ExerciseResult] = ()
    whole: tuple[int, int] = (0, 0)
    results: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    answers: Mapping[str, str] = field(default_factory=dict)
    fingerprints: Mapping[str, Sequence[int]] = field(default_factory=dict)
    warnings: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """Values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Submission":
        """The reverse of `as_json`; KeyError or TypeError if the values are of another kind."""
        exercises = [
            ExerciseResult(**{**exercise, "findings": [Finding(**finding) for finding in exercise["findings"]]})
            for exercise in values["exercises"]
        ]
        return cls(**{**values, "exercises": exercises, "whole": tuple(values["whole"])})


def marks(submission: Submission, weights: Mapping[str, float]) -> dict[str, float]:
    """The points of each exercise: its weight times the fraction of its checks that pass.

    :param weights: the points of each exercise, by its name.
    """
    fractions = {exercise.name: exercise.fraction for exercise in submission.exercises}
    return {name: weight * fractions.get(name, 0.0) for name, weight in weights.items()}
