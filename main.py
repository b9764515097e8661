#!/usr/bin/env python
"""The project's command line: `python main.py COMMAND --help` explains each command.

What goes wrong in an expected way (a missing file, a bad value, a cell that fails) ends with one line and exit
status 2; anything else is a bug, and shows its traceback. Ctrl-C and SIGTERM end with exit status 130.
"""

import argparse
import contextlib
import json
import math
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cs236781.cli import (
    PROJECT,
    Paragraphs,
    Parser,
    add_dpi,
    add_notebooks,
    add_playing,
    add_running,
    add_workers,
    check_present,
    end_as_by_ctrl_c,
    integer_from,
    is_expected,
    number,
    one_line,
    seconds,
    stdout_is_closed,
)
from cs236781.files import check_file_writable, check_folder_writable, write_whole

# The packages that do the work are imported inside the commands: some take seconds to load, and neither --help nor
# the answer to wrong use should wait for what they do not need.

NOTEBOOK = "Part1_DeepRL.ipynb"
CONFIG_NAMES = ["vpg", "epg", "bpg", "cpg", "aac"]
SWEEP_NAMES = [*CONFIG_NAMES, "aac_long"]


# --- the commands


def run_nb(args: argparse.Namespace) -> None:
    """Execute notebooks, each in its folder, and save them in place with their outputs."""
    check_present(args.notebooks)

    from cs236781.jupyter_utils import run_notebook

    for path in args.notebooks:
        run_notebook(path, allow_errors=args.allow_errors, timeout=args.timeout)


def clear_nb(args: argparse.Namespace) -> None:
    """Strip notebooks, in place, of their outputs and execution counts."""
    check_present(args.notebooks)

    from cs236781.jupyter_utils import clear_notebook

    for path in args.notebooks:
        clear_notebook(path)


def prepare_submission(args: argparse.Namespace) -> None:
    """Run every PartN_*.ipynb, export them as one HTML page, and pack hw4-ID_ID.zip to hand in."""
    from cs236781 import submission

    submission.prepare_submission(
        args.ids,
        root=PROJECT,
        out_dir=args.out_dir,
        skip_run=args.skip_run,
        allow_errors=args.allow_errors,
        timeout=args.timeout,
    )


def check_submission(args: argparse.Namespace) -> None:
    """Run the public tests against the code of archives that were handed in; a line for each, exercise by exercise.

    The tests are this project's, not the archive's; of an archive, only the package hw4 is used. What is wrong with an
    archive is said in its line, and the others are checked all the same. Exit status: 0 where every archive's status
    is ok (all tests were run to their end, passed or not); 1 where one's is not (it is broken, cannot be imported,
    ran out of time or memory, or crashed), so that a person looks at it; 2 where nothing could be checked.

    What this protects against: archives that write elsewhere when unpacked, hold links or inflate without end (they
    are refused); code that by mistake has no end, takes all memory, prints without end, crashes or leaves processes
    behind (it is ended); on Linux with user namespaces, code that uses the network or other processes. Code gets
    none of the caller's environment variables, and a home of its own.

    What it does NOT protect against: the code runs as you, and may read, change and delete what you may, fill the
    disk, and use as much memory in each of many processes. It runs in the same process as the tests, and one who
    sets out to cheat can report what he likes. So run this in a container or as a user who owns nothing, and read
    the code before you trust a mark.
    """
    from cs236781.grading import checking

    limits = checking.Limits(args.time_limit, args.memory)
    rows = checking.check_submissions(args.archives, csv_file=args.csv, jobs=args.jobs, limits=limits)
    print(checking.table(rows))
    print(checking.isolation(), file=sys.stderr)
    if any(row.status != "ok" for row in rows):
        sys.exit(1)


def prepare_dist(args: argparse.Namespace) -> None:
    """Make the copy of the assignment that students receive, its solutions taken out, and pack hw4-dist.zip."""
    from cs236781 import distribution

    distribution.prepare_dist(root=PROJECT, out_dir=args.out_dir)


def run_all(args: argparse.Namespace) -> None:
    """Train and play the whole assignment into a folder: results, checkpoints, the executed notebook, its page.

    Experiments whose results are in the folder already are not trained again.
    """
    out_dir = args.out_dir.resolve()
    out_dir.mkdir(parents=True, exist_ok=True)
    check_folder_writable(out_dir)

    from cs236781.jupyter_utils import export_html, run_notebook
    from hw4.experiments import run_experiments

    results, checkpoints, notebook = out_dir / "results", out_dir / "checkpoints", out_dir / NOTEBOOK
    run_experiments(results_dir=results, checkpoints_dir=checkpoints, num_workers=args.num_workers)
    for file in (PROJECT / "results").glob("*.json"):  # of hours of sweeps, which the notebook shows
        write_whole(results / file.name, file.read_bytes())
    run_notebook(PROJECT / NOTEBOOK, out=notebook, working_dir=out_dir)
    page = export_html([notebook], notebook.with_suffix(".html"))
    print("Done. Here are:")
    for what, where in [("results", results), ("checkpoints", checkpoints), ("notebook", notebook), ("page", page)]:
        print(f"  {what:<12} {where}")


def train(args: argparse.Namespace) -> None:
    """Train one configuration: vpg, epg (entropy), bpg (baseline), cpg (both) or aac (actor-critic).

    Without --out and --checkpoint nothing is kept but the figures printed at the end. Ctrl-C ends the training early
    and keeps what was learned.
    """
    for file in filter(None, [args.out, args.checkpoint]):
        check_file_writable(file)
    if args.resume and args.checkpoint is None:
        raise ValueError("--resume goes on from a checkpoint: name it with --checkpoint")

    from hw4 import experiments

    data = experiments.train_config(
        args.config,
        hp=experiments.parse_settings(args.config, args.settings),
        seed=args.seed,
        max_episodes=args.episodes or experiments.MAX_EPISODES,
        target_reward=args.target_reward,
        num_workers=args.num_workers,
        device=args.device,
        checkpoints_file=args.checkpoint,
        resume=args.resume,
    )
    if args.out:
        experiments.dump_training_data({args.config: data}, args.out)
        print(f"results: {args.out}")
    if data["episode_num"]:
        figures = f"mean reward {data['mean_reward'][-1]:.2f} at the end, {data['best_mean_reward'][-1]:.2f} at best"
        print(f"{args.config}: {data['episode_num'][-1]} episodes, {figures}")


def evaluate(args: argparse.Namespace) -> None:
    """Play a checkpoint's policy for many episodes, and say how good it is."""
    with contextlib.redirect_stdout(sys.stderr):  # what libraries print is not the result
        from hw4.experiments import load_policy
        from hw4.study import evaluation

        policy = load_policy(args.checkpoint)
        result = evaluation.evaluate(*policy, episodes=args.episodes, seed=args.seed, greedy=args.greedy)
    if args.json:
        print(json.dumps(result))
        return
    print(
        f"mean reward {result['mean']:.2f}, standard deviation {result['std']:.2f}, over {result['episodes']} episodes"
    )
    print(f"{result['share_at_least_200']:.1%} of the episodes reached 200")
    print(f"mean length {result['mean_length']:.1f} steps")


def record(args: argparse.Namespace) -> None:
    """Play one episode with a checkpoint's policy, and record it as an mp4 video (or a GIF)."""
    out = args.out or Path(f"{args.checkpoint.stem}.mp4")
    if out.suffix not in (".mp4", ".gif"):
        raise ValueError(f"a recording is an .mp4 or a .gif file, and {out} is neither: change its ending")
    check_file_writable(out)

    from hw4.experiments import load_policy
    from hw4.study import evaluation

    n_steps, reward = evaluation.record(*load_policy(args.checkpoint), out, seed=args.seed, greedy=args.greedy)
    print(f"{out}: {n_steps} steps, reward {reward:.2f}")


def plot(args: argparse.Namespace) -> None:
    """Draw the learning curves of results files, in one figure."""
    check_file_writable(args.out)

    from hw4.files import load_training_data
    from hw4.study.plots import plot_experiment_results, save

    results = {name: data for file in args.results for name, data in load_training_data(file).items()}
    figure = plot_experiment_results(results)
    save(figure, args.out, dpi=args.dpi)
    print(args.out)


def sweep(args: argparse.Namespace) -> None:
    """Train configurations with many seeds, and any settings, and gather the figures of all runs in one file.

    As many runs at a time as there are processors here, or an array job on a Slurm cluster. Started again, it does only
    what is missing. aac_long is aac with 15,000 episodes.
    """
    check_file_writable(args.out)

    from hw4.study import sweep

    seeds = range(args.first_seed, args.first_seed + args.seeds)
    runs = sweep.runs_of(args.configs, seeds, args.settings, args.episodes, args.evaluate)
    sweep.sweep(runs, args.out, cluster=args.cluster, jobs=args.jobs, partition=args.partition)
    print(sweep.table(sweep.load_runs(args.out)))
    print(f"results: {args.out}")


def analyse(args: argparse.Namespace) -> None:
    """Train aac with one seed, and measure the gradient's noise, the critic, and where the time goes, into one file."""
    check_file_writable(args.out)

    from hw4 import answers
    from hw4.study import analysis

    result = analysis.analyse(answers.part1_aac_hyperparams(), args.seed)
    write_whole(args.out, json.dumps(result).encode())
    print(args.out)


def figures(args: argparse.Namespace) -> None:
    """Draw the figures of a sweep (with evaluations) and of an analysis, as PNG files in a folder."""
    check_folder_writable(args.out_dir)

    from hw4.study import plots
    from hw4.study.sweep import load_runs

    drawn = {
        "seeds": plots.plot_seeds(load_runs(args.seeds)),
        "evaluations": plots.plot_evaluations(load_runs(args.seeds)),
        "reached": plots.plot_share_reached(load_runs(args.seeds)),
    }
    analysis = json.loads(args.analysis.read_text())
    drawn |= {
        "gradient_noise": plots.plot_gradient_noise(analysis),
        "critic": plots.plot_critic(analysis),
        "time_use": plots.plot_time_use(analysis),
    }
    for name, figure in drawn.items():
        plots.save(figure, args.out_dir / f"{name}.png", dpi=args.dpi)
        print(args.out_dir / f"{name}.png")


# --- their arguments


def run_nb_arguments(parser: argparse.ArgumentParser) -> None:  # noqa: D103 - the command's docstring says it
    add_notebooks(parser)
    add_running(parser)


def prepare_submission_arguments(parser: argparse.ArgumentParser) -> None:  # noqa: D103
    help_ = "a student's id, letters and digits; once for each student"
    parser.add_argument("--id", dest="ids", action="append", required=True, metavar="ID", help=help_)
    help_ = "where the archive goes (default: here)"
    parser.add_argument("--out-dir", type=Path, default=Path(), metavar="DIR", help=help_)
    help_ = "do not run the notebooks; use the outputs they hold"
    parser.add_argument("--skip-run", action="store_true", help=help_)
    add_running(parser)


def check_submission_arguments(parser: argparse.ArgumentParser) -> None:  # noqa: D103
    help_ = "a file that prepare-submission made"
    parser.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE", help=help_)
    help_ = "archives checked at the same time (default: 1)"
    parser.add_argument("--jobs", type=integer_from(1), default=1, metavar="N", help=help_)
    parser.add_argument("--csv", type=Path, metavar="OUT", help="write the table to this file, too")
    help_ = "processor seconds for an archive's tests; if they need more, half for each exercise's (default: 60)"
    parser.add_argument("--time-limit", type=seconds, default=60, metavar="S", help=help_)
    help_ = "megabytes that each process of an archive's code may take, on Linux (default: 2000)"
    parser.add_argument("--memory", type=integer_from(1), default=2000, metavar="MB", help=help_)


def prepare_dist_arguments(parser: argparse.ArgumentParser) -> None:  # noqa: D103
    help_ = "where the archive goes (default: here)"
    parser.add_argument("--out-dir", type=Path, default=Path(), metavar="DIR", help=help_)


def run_all_arguments(parser: argparse.ArgumentParser) -> None:  # noqa: D103
    help_ = "where everything goes; made if missing"
    parser.add_argument("--out-dir", type=Path, required=True, metavar="OUT", help=help_)
    add_workers(parser)


def train_arguments(parser: argparse.ArgumentParser) -> None:  # noqa: D103
    parser.add_argument("config", choices=CONFIG_NAMES, metavar="CONFIG", help=f"one of {', '.join(CONFIG_NAMES)}")
    help_ = "what all randomness comes from (default: drawn, and printed)"
    parser.add_argument("--seed", type=integer_from(0), metavar="N", help=help_)
    parser.add_argument("--episodes", type=integer_from(1), metavar="N", help="episodes to play (default: 6000)")
    help_ = "stop when the mean reward reaches this (default: never)"
    parser.add_argument("--target-reward", type=number, default=math.inf, metavar="R", help=help_)
    add_workers(parser)
    help_ = "where the network learns: auto, cpu or cuda (default: cpu)"
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="cpu", help=help_)
    help_ = "change a hyperparameter, as in learn_rate=0.01; may be repeated"
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help=help_)
    parser.add_argument("--out", type=Path, metavar="RESULTS.dat", help="write the training data to this file")
    help_ = "save the policy to this file at every new best mean reward"
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help=help_)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")


def evaluate_arguments(parser: argparse.ArgumentParser) -> None:  # noqa: D103
    add_playing(parser)
    help_ = "episodes to play (default: 100)"
    parser.add_argument("--episodes", type=integer_from(1), default=100, metavar="N", help=help_)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def record_arguments(parser: argparse.ArgumentParser) -> None:  # noqa: D103
    add_playing(parser)
    help_ = "the video (default: the checkpoint's name with .mp4, here)"
    parser.add_argument("--out", type=Path, metavar="FILE.mp4", help=help_)


def plot_arguments(parser: argparse.ArgumentParser) -> None:  # noqa: D103
    help_ = "a results file, as train --out writes it"
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS.dat", help=help_)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="the figure (or .svg, .pdf)")
    add_dpi(parser)


def analyse_arguments(parser: argparse.ArgumentParser) -> None:  # noqa: D103
    parser.add_argument("--seed", type=integer_from(0), default=42, metavar="N", help="of the run (default: 42)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="what was measured")


def figures_arguments(parser: argparse.ArgumentParser) -> None:  # noqa: D103
    help_ = "what sweep --evaluate wrote (default: results/part1_seeds.json)"
    default = PROJECT / "results" / "part1_seeds.json"
    parser.add_argument("--seeds", type=Path, default=default, metavar="FILE.json", help=help_)
    help_ = "what analyse wrote (default: results/analysis.json)"
    default = PROJECT / "results" / "analysis.json"
    parser.add_argument("--analysis", type=Path, default=default, metavar="FILE.json", help=help_)
    parser.add_argument("--out-dir", type=Path, required=True, metavar="DIR", help="where the figures go")
    add_dpi(parser)


def sweep_arguments(parser: argparse.ArgumentParser) -> None:  # noqa: D103
    help_ = f"some of {', '.join(SWEEP_NAMES)}"
    parser.add_argument("configs", nargs="+", choices=SWEEP_NAMES, metavar="CONFIG", help=help_)
    parser.add_argument(
        "--out", type=Path, default=Path("sweep.json"), metavar="FILE.json", help="(default: sweep.json)"
    )
    parser.add_argument("--seeds", type=integer_from(1), default=10, metavar="N", help="how many (default: 10)")
    help_ = "the first of them (default: 0)"
    parser.add_argument("--first-seed", type=integer_from(0), default=0, metavar="N", help=help_)
    parser.add_argument("--episodes", type=integer_from(1), metavar="N", help="of each run (default: 6000, long 15000)")
    help_ = "evaluate the final and the best policy over N episodes (default: no evaluation)"
    parser.add_argument("--evaluate", type=integer_from(0), default=0, metavar="N", help=help_)
    help_ = "a hyperparameter's values to try, as in learn_rate=0.01,0.02; each combination, if repeated"
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE,...", help=help_)
    help_ = "run here, or on a Slurm cluster (default: local)"
    parser.add_argument("--cluster", choices=["local", "slurm"], default="local", help=help_)
    parser.add_argument("--partition", metavar="NAME", help="Slurm's (default: the cluster's)")
    parser.add_argument("--jobs", type=integer_from(1), metavar="N", help="runs at a time (default: what there is)")


@dataclass(frozen=True)
class Command:
    """A command: what runs it, whose docstring is its help, and what declares its arguments."""

    run: Callable[[argparse.Namespace], None]
    add_arguments: Callable[[argparse.ArgumentParser], None]


COMMANDS = {
    "run-nb": Command(run_nb, run_nb_arguments),
    "clear-nb": Command(clear_nb, add_notebooks),
    "prepare-submission": Command(prepare_submission, prepare_submission_arguments),
    "check-submission": Command(check_submission, check_submission_arguments),
    "prepare-dist": Command(prepare_dist, prepare_dist_arguments),
    "run-all": Command(run_all, run_all_arguments),
    "train": Command(train, train_arguments),
    "evaluate": Command(evaluate, evaluate_arguments),
    "record": Command(record, record_arguments),
    "plot": Command(plot, plot_arguments),
    "sweep": Command(sweep, sweep_arguments),
    "analyse": Command(analyse, analyse_arguments),
    "figures": Command(figures, figures_arguments),
}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line's arguments, checked; ends the program on wrong use and --help."""
    parser = Parser(prog="main.py", description="Train, play, show and hand in the landing of Beresheet.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        text = (command.run.__doc__ or "").replace("%", "%%")
        command_parser = commands.add_parser(
            name, help=text.splitlines()[0], description=text, formatter_class=Paragraphs, allow_abbrev=False
        )
        command.add_arguments(command_parser)
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        commands.choices[args.command].error(f"there is no argument {unknown[0]}")
    return args


# --- how a command ends


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status."""
    args = parse(arguments)
    signal.signal(signal.SIGTERM, end_as_by_ctrl_c)
    try:
        COMMANDS[args.command].run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"main.py {args.command}: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if isinstance(error, BrokenPipeError) and stdout_is_closed():
            return 141  # as the shell reports a program that SIGPIPE ended
        if not is_expected(error):
            raise
        print(f"main.py {args.command}: error: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
