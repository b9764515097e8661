#!/usr/bin/env python
"""The project's command line: `python main.py COMMAND --help` explains each command.

What goes wrong in an expected way (a missing file, a bad value, a cell that fails) ends with one line and exit
status 2; anything else is a bug, and shows its traceback. Ctrl-C ends with exit status 130.
"""

import argparse
import contextlib
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cs236781.commandline import PROJECT, Parser, integer_from, is_expected, number, one_line, seconds, stdout_is_closed
from cs236781.files import check_file_writable, check_folder_writable

# The packages that do the work are imported inside the commands: some take seconds to load, and neither --help nor
# the answer to wrong use should wait for what they do not need.

NOTEBOOK = "Part1_DeepRL.ipynb"
CONFIG_NAMES = ["vpg", "epg", "bpg", "cpg", "aac"]


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
        from hw4 import evaluation
        from hw4.experiments import load_policy

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

    from hw4 import evaluation
    from hw4.experiments import load_policy

    n_steps, reward = evaluation.record(*load_policy(args.checkpoint), out, seed=args.seed, greedy=args.greedy)
    print(f"{out}: {n_steps} steps, reward {reward:.2f}")


def plot(args: argparse.Namespace) -> None:
    """Draw the learning curves of results files, in one figure."""
    check_file_writable(args.out)

    from hw4.files import load_training_data
    from hw4.plots import plot_experiment_results

    results = {name: data for file in args.results for name, data in load_training_data(file).items()}
    figure = plot_experiment_results(results)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    partial = args.out.with_name(f".{args.out.name}")
    figure.savefig(partial, format=args.out.suffix.lstrip(".") or "png", dpi=args.dpi)
    partial.replace(args.out)
    print(args.out)


def check_present(notebooks: list[Path]) -> None:
    """Refuse a missing notebook before any is worked on."""
    for path in notebooks:
        if not path.is_file():
            raise FileNotFoundError(f"there is no notebook {path}")


# --- their arguments


def add_notebooks(parser: argparse.ArgumentParser) -> None:
    """Declare the notebooks a command works on."""
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="NB", help="a notebook file")


def add_running(parser: argparse.ArgumentParser) -> None:
    """Declare how notebooks are run."""
    parser.add_argument("--allow-errors", action="store_true", help="go on after a cell that fails, keeping its error")
    parser.add_argument("--timeout", type=seconds, metavar="S", help="seconds a cell may take (default: no limit)")


def add_playing(parser: argparse.ArgumentParser) -> None:
    """Declare the policy to play and how."""
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a file that train --checkpoint wrote")
    parser.add_argument("--seed", type=integer_from(0), default=0, metavar="N", help="of the episodes (default: 0)")
    parser.add_argument("--greedy", action="store_true", help="take the most probable action, instead of drawing one")


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Declare the number of processes."""
    help_ = "processes that play; the results are the same (default: what suits the machine)"
    parser.add_argument("--num-workers", type=integer_from(0), metavar="N", help=help_)


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
    parser.add_argument("--dpi", type=integer_from(1), default=80, metavar="N", help="dots per inch (default: 80)")


@dataclass(frozen=True)
class Command:
    """A command: what runs it, whose docstring is its help, and what declares its arguments."""

    run: Callable[[argparse.Namespace], None]
    add_arguments: Callable[[argparse.ArgumentParser], None]


COMMANDS = {
    "run-nb": Command(run_nb, run_nb_arguments),
    "clear-nb": Command(clear_nb, add_notebooks),
    "prepare-submission": Command(prepare_submission, prepare_submission_arguments),
    "prepare-dist": Command(prepare_dist, prepare_dist_arguments),
    "run-all": Command(run_all, run_all_arguments),
    "train": Command(train, train_arguments),
    "evaluate": Command(evaluate, evaluate_arguments),
    "record": Command(record, record_arguments),
    "plot": Command(plot, plot_arguments),
}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line's arguments, checked; ends the program on wrong use and --help."""
    parser = Parser(prog="main.py", description="Train, play, show and hand in the landing of Beresheet.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        text = (command.run.__doc__ or "").replace("%", "%%")
        command_parser = commands.add_parser(
            name, help=text.splitlines()[0], description=text, allow_abbrev=False, add_help=True
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
