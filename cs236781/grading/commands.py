"""The instructor's commands. `main.py` has them where this folder is, and students receive neither."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cs236781.cli import PROJECT

if TYPE_CHECKING:
    from cs236781.grading.verdicts import Submission

app = typer.Typer()


@app.command()
def check_submission(
    archives: Annotated[list[Path], typer.Argument(help="files that prepare-submission made")],
    jobs: Annotated[int, typer.Option(min=1, help="archives checked at the same time")] = 1,
    csv: Annotated[Path | None, typer.Option(help="write a sheet with a row for each student")] = None,
    roster: Annotated[
        Path | None, typer.Option(help="the course's students, a CSV file with a column id: who is missing is told")
    ] = None,
    feedback_dir: Annotated[
        Path | None, typer.Option(help="write a file for each student, as Markdown and as HTML, into this folder")
    ] = None,
    answers: Annotated[Path | None, typer.Option(help="write a page with all answers and learning curves")] = None,
    similarity: Annotated[Path | None, typer.Option(help="write which archives' code is alike, as .md or .csv")] = None,
    gradescope: Annotated[
        Path | None, typer.Option(help="write results.json for Gradescope, of a single archive")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="the points of each exercise, as tests/weights.toml has them")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="a folder: what is in it need not be checked again")] = None,
    time_limit: Annotated[int, typer.Option(min=1, help="processor seconds for each exercise of an archive")] = 5,
    memory: Annotated[
        int, typer.Option(min=1, help="megabytes that each process of an archive's code may take, on Linux")
    ] = 2000,
) -> None:
    """Check archives that were handed in, exercise by exercise.

    Each exercise is asked small questions: first within the student's own code; if it fails there, once more with the
    reference's solution in the place of all others. So no exercise pays for another's mistake. Its points are its
    weight times the fraction of the questions that it answers rightly. Of an archive, only the package hw4 is run.

    There is a line for each archive. What is wrong with one is said in its line, and the others are checked all the
    same. Exit status: 0 if every archive's status is ok; 1 if one's is not (it is broken, does not end, ends its
    process), so that a person looks at it; 2 if nothing could be checked.

    Code is run under limits of time, memory and processes, with none of your environment variables. Where bubblewrap
    is installed, it sees no network, no other process, and of files the system's and its own only. Where it is not,
    it runs as you, and may read, change and delete what you may: check as a user who owns nothing. What was protected
    is said at the end. The code only gives values. Whether they are right is decided elsewhere, for values that are
    drawn anew each time. It cannot report a mark. Who writes a solution that finds the right values otherwise has them:
    read the code before you trust a mark.
    """
    from cs236781.checks import load_checks, load_trained
    from cs236781.exercises import load_exercises
    from cs236781.files import check_file_writable, check_folder_writable
    from cs236781.grading import cache as caching
    from cs236781.grading import checking, sheet
    from cs236781.grading.weights import load_weights

    exercises = load_exercises(PROJECT)
    points = load_weights(weights, exercises, PROJECT)
    students = None if roster is None else sheet.load_roster(roster)
    if similarity is not None and similarity.suffix not in (".csv", ".md"):
        raise ValueError(f"--similarity writes .md or .csv, not {similarity.name}: name it so")
    if gradescope is not None and len(archives) != 1:
        raise ValueError(f"--gradescope is for a single archive, not {len(archives)}: give one")
    for file in filter(None, (csv, answers, similarity, gradescope)):
        check_file_writable(file)
    if feedback_dir is not None:
        feedback_dir.mkdir(parents=True, exist_ok=True)
        check_folder_writable(feedback_dir)
    limits = checking.Limits(time_limit, memory)
    trained = load_trained(PROJECT)

    def write(submissions: "list[Submission]", complete: bool) -> None:
        """All that is asked for; after Ctrl-C the rows that are there, beside an older sheet."""
        rows = sheet.student_rows(submissions, points, students if complete else None)
        if csv is not None:
            target = csv if complete else csv.with_name(f"{csv.stem}.partial{csv.suffix}")
            sheet.write_sheet(target, rows)
        if not complete:
            done = f"{len(submissions)} of {len(archives)} archives are checked"
            print(f"{done}{f', and are in {target}' if csv is not None else ''}", file=sys.stderr)
            return
        for note in sheet.roster_notes(rows):
            print(note)
        if feedback_dir is not None:
            from cs236781.grading.feedback import write_feedback

            write_feedback(submissions, feedback_dir, points, exercises)
        if answers is not None:
            from cs236781.grading.answers_page import write_answers_page

            questions = list(dict.fromkeys(check.exercise for check in load_checks(PROJECT) if check.ask == "answer"))
            write_answers_page(submissions, answers, questions, _curves(submissions, trained.curves))
        if similarity is not None:
            from cs236781.files import write_whole
            from cs236781.grading import similarity as alike

            found = {one.archive: one.fingerprints for one in submissions}
            report = alike.pairs(found, alike.given(PROJECT))
            text = alike.as_csv(report) if similarity.suffix == ".csv" else alike.as_markdown(report)
            write_whole(similarity, text.encode(errors="replace"))
        if gradescope is not None and submissions:
            from cs236781.grading.gradescope import write_results

            write_results(gradescope, submissions[0], points)

    options: dict[str, Any] = {}
    if cache is not None:
        kept = caching.Cache(cache, caching.digest(PROJECT, limits))
        options["known"] = lambda archive: kept.get(kept.key(archive), archive)
        options["keep"] = lambda archive, found: kept.put(kept.key(archive), found, keep=found.status == "ok")
    submissions = checking.check_submissions(
        archives, jobs=jobs, limits=limits, trained=trained.results, finish=write, **options
    )
    print(sheet.table(submissions, points))
    for note in kept.notes if cache is not None else ():
        print(note, file=sys.stderr)
    print(checking.isolation(), file=sys.stderr)
    if any(submission.status != "ok" for submission in submissions):
        raise typer.Exit(1)


def _curves(submissions: "Sequence[Submission]", curves: Callable[[Path], bytes | None]) -> dict[str, bytes]:
    """The learning curves of those that could be unpacked."""
    from cs236781 import unpacking
    from cs236781.grading.sandbox import scratch_folder

    found = {}
    for submission in submissions:
        if submission.exercises:
            with scratch_folder() as folder:
                picture = curves(folder / f"hw4-{unpacking.unpack(submission.archive, folder)}")
            if picture is not None:
                found[submission.archive] = picture
    return found


@app.command()
def prepare_dist(out_dir: Annotated[Path, typer.Option(help="where the archive goes")] = Path()) -> None:
    """Pack hw4-dist.zip, the students' copy."""
    from cs236781 import distribution

    distribution.prepare_dist(root=PROJECT, out_dir=out_dir)


@app.command()
def prepare_gradescope(out_dir: Annotated[Path, typer.Option(help="where the archive goes")] = Path()) -> None:
    """Pack autograder.zip, which Gradescope checks submissions with."""
    from cs236781.grading import gradescope

    gradescope.build_autograder(root=PROJECT, out_dir=out_dir)
