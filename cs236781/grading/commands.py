"""The instructor's commands. `main.py` has them where this folder is, and students receive neither."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cs236781.cli import PROJECT

app = typer.Typer()


@app.command()
def check_submission(
    archives: Annotated[list[Path], typer.Argument(help="files that prepare-submission made")],
    jobs: Annotated[int, typer.Option(min=1, help="archives checked at the same time")] = 1,
    csv: Annotated[Path | None, typer.Option(help="write the table to this file, too")] = None,
    time_limit: Annotated[
        int,
        typer.Option(
            min=1, help="processor seconds for an archive's tests; if they need more, half for each section's"
        ),
    ] = 60,
    memory: Annotated[
        int, typer.Option(min=1, help="megabytes that each process of an archive's code may take, on Linux")
    ] = 2000,
) -> None:
    """Run the public tests on archives that were handed in.

    The tests are this project's. Of an archive, only the package hw4 is used. There is a line for each archive. What
    is wrong with one is said in its line, and the others are checked all the same. Exit status: 0 if every archive's
    status is ok (all tests ran to their end, passed or not); 1 if one's is not (it is broken, cannot be imported, ran
    out of time or memory, or crashed), so that a person looks at it; 2 if nothing could be checked.

    What this protects against: archives that write elsewhere when unpacked, hold links or inflate without end (they
    are refused); code that by mistake has no end, takes all memory, prints without end, crashes or leaves processes
    behind (it is ended); on Linux with user namespaces, code that uses the network or other processes. Code gets
    none of your environment variables, and a home of its own.

    What it does NOT protect against: the code runs as you. It may read, change and delete what you may, fill the
    disk, and use as much memory in each of many processes. It runs in the same process as the tests, so a cheat can
    report any result. Run this in a container or as a user who owns nothing, and read the code before you trust a
    mark.
    """
    from cs236781.grading import checking

    limits = checking.Limits(time_limit, memory)
    rows = checking.check_submissions(archives, csv_file=csv, jobs=jobs, limits=limits)
    print(checking.table(rows))
    print(checking.isolation(), file=sys.stderr)
    if any(row["status"] != "ok" for row in rows):
        raise typer.Exit(1)


@app.command()
def prepare_dist(out_dir: Annotated[Path, typer.Option(help="where the archive goes")] = Path()) -> None:
    """Pack hw4-dist.zip, the students' copy."""
    from cs236781 import distribution

    distribution.prepare_dist(root=PROJECT, out_dir=out_dir)
