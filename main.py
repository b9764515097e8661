#!/usr/bin/env python
"""The project's command line: `python main.py COMMAND --help` explains each command.

An expected error (a missing file, a bad value, a cell that fails) ends with one line and exit status 2. Anything else
is a bug, and shows its traceback. Ctrl-C, SIGTERM and SIGHUP end with exit status 130, 143 and 129.

Each command imports the packages that it works with by itself: some take seconds to load, and neither --help nor the
answer to wrong use should wait for them.
"""

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the command begins: no traceback of half-loaded packages

import contextlib
import json
import math
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cs236781.cli import PROJECT, run
from cs236781.files import check_file_writable, check_folder_writable, write_json, write_whole

NOTEBOOK = "Part1_DeepRL.ipynb"
RESULTS = PROJECT / "results"
MOST_EPISODES = 1_000_000  # that any command plays

app = typer.Typer(
    help="Train, play, show and hand in the landing of Beresheet.",
    context_settings={"max_content_width": 120},
    rich_markup_mode=None,  # Rich takes longer to load than Typer
)
if (PROJECT / "cs236781" / "grading" / "commands.py").is_file():
    from cs236781.grading.commands import app as instructors_app

    app.add_typer(instructors_app)


def a_file(value: str | Path) -> Path:
    """The path that an option names, which is not a folder's. Its default comes as a path."""
    text = str(value)
    if text.endswith("/") or Path(text).name in ("", ".."):
        raise typer.BadParameter(f"{text!r} names no file: give a file's name, in a folder or alone")
    return Path(text)


def output(what: str, **shown: Any) -> Any:
    """An option that names a file to write."""
    return typer.Option(parser=a_file, metavar="FILE", help=what, **shown)


Config = Literal["vpg", "epg", "bpg", "cpg", "aac"]
SweepConfig = StrEnum("SweepConfig", ["vpg", "epg", "bpg", "cpg", "aac", "aac_long"])  # Typer takes no list[Literal]
Notebooks = Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="notebook files")]
AllowErrors = Annotated[bool, typer.Option("--allow-errors", help="go on after a cell that fails, and keep its error")]
Timeout = Annotated[int | None, typer.Option(min=1, help="seconds that a cell may take", show_default="no limit")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=0, max=1024, help="processes that play; the results are the same", show_default="what suits the machine"
    ),
]
Checkpoint = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="a file that train --checkpoint wrote")]
Greedy = Annotated[bool, typer.Option("--greedy", help="take the most probable action instead of sampling one")]
EpisodeSeed = Annotated[int, typer.Option(min=0, help="of the episodes")]
Episodes = Annotated[int, typer.Option(min=1, max=MOST_EPISODES, help="episodes to play")]
Dpi = Annotated[int, typer.Option(min=1, max=1200, help="dots per inch")]


@app.command()
def run_nb(notebooks: Notebooks, allow_errors: AllowErrors = False, timeout: Timeout = None) -> None:
    """Execute notebooks, and save them with their outputs.

    Each is run in its own folder, and saved in place.
    """
    from cs236781.jupyter_utils import run_notebook

    for path in notebooks:
        run_notebook(path, allow_errors=allow_errors, timeout=timeout)


@app.command()
def clear_nb(notebooks: Notebooks) -> None:
    """Strip notebooks of outputs and execution counts."""
    from cs236781.jupyter_utils import clear_notebook

    for path in notebooks:
        clear_notebook(path)


@app.command()
def prepare_submission(
    ids: Annotated[list[str], typer.Option("--id", metavar="ID", help="a student's id; once for each student")],
    out_dir: Annotated[Path, typer.Option(help="where the archive goes")] = Path(),
    skip_run: Annotated[bool, typer.Option("--skip-run", help="use the outputs that the notebooks hold")] = False,
    allow_errors: AllowErrors = False,
    timeout: Timeout = None,
) -> None:
    """Run all notebooks, and pack hw4-ID_ID.zip to hand in.

    The notebooks PartN_*.ipynb are exported as one HTML page, which is packed with the code.
    """
    from cs236781 import submission

    submission.prepare_submission(
        ids, root=PROJECT, out_dir=out_dir, skip_run=skip_run, allow_errors=allow_errors, timeout=timeout
    )


@app.command()
def run_all(
    out_dir: Annotated[Path, typer.Option(help="where everything goes; made if missing")], num_workers: Workers = None
) -> None:
    """Train and run the whole assignment into a folder.

    The folder gets results, checkpoints, the executed notebook and its page. Experiments whose results it holds
    already are not trained again.
    """
    out_dir = out_dir.resolve()
    out_dir.mkdir(parents=True, exist_ok=True)
    check_folder_writable(out_dir)

    from cs236781.html_export import export_html
    from cs236781.jupyter_utils import run_notebook
    from hw4.experiments import run_experiments

    results, checkpoints, notebook = out_dir / "results", out_dir / "checkpoints", out_dir / NOTEBOOK
    run_experiments(results_dir=results, checkpoints_dir=checkpoints, num_workers=num_workers)
    for file in RESULTS.glob("*.json"):  # of hours of sweeps, which the notebook shows
        write_whole(results / file.name, file.read_bytes())
    run_notebook(PROJECT / NOTEBOOK, out=notebook, working_dir=out_dir)
    page = export_html([notebook], notebook.with_suffix(".html"))
    print("Done. Here are:")
    for what, where in [("results", results), ("checkpoints", checkpoints), ("notebook", notebook), ("page", page)]:
        print(f"  {what:<12} {where}")


@app.command()
def train(
    config: Annotated[Config, typer.Argument(help="the configuration")],
    seed: Annotated[
        int | None, typer.Option(min=0, help="what all randomness comes from", show_default="drawn, and printed")
    ] = None,
    episodes: Episodes = 6000,
    target_reward: Annotated[
        float, typer.Option(help="stop when the mean reward reaches this", show_default="never")
    ] = math.inf,
    num_workers: Workers = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="where the network learns")] = "cpu",
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="set a hyperparameter, as in delta=1; one that has an end still goes there, so set learn_rate_end too",
        ),
    ] = None,
    out: Annotated[Path | None, output("write the training data to this file")] = None,
    checkpoint: Annotated[
        Path | None, output("save the policy here at every new best, and the latest state beside it")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart/--resume", help="keep the files of an earlier run aside, or go on with them")
    ] = False,
) -> None:
    """Train one configuration.

    vpg is the vanilla policy gradient; epg adds entropy, bpg a baseline, cpg both; aac is the actor-critic. Without
    --out and --checkpoint nothing is kept but the figures printed at the end. Ctrl-C ends the training early and keeps
    what was learned. With --checkpoint, the same command goes on where the run was stopped.
    """
    for file in filter(None, (out, checkpoint)):
        check_file_writable(file)

    from hw4 import experiments, runs

    def stop(training_data: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    how: dict[str, Any] = {
        "hp": experiments.hyperparams_of(config, overrides or ()),
        "seed": seed,
        "max_episodes": episodes,
        "target_reward": target_reward,
        "num_workers": num_workers,
        "device": device,
        "checkpoints_file": checkpoint,
        "restart": restart,
    }
    if out is not None and checkpoint is not None and out.resolve() == checkpoint.resolve():
        raise ValueError(f"--out and --checkpoint name one file, {out}: give each a file of its own")
    if out is None:
        data = experiments.train_config(config, on_interrupt=stop, **how)
    else:
        data = experiments.train_into(config, out, **how)
    if checkpoint is not None and (problem := runs.problem_of_best(checkpoint, data)):
        raise OSError(f"the run is finished, but its best checkpoint is not kept: {problem}. The same command makes it")
    if all(data.get(name) for name in ("episode_num", "mean_reward", "best_mean_reward")):
        figures = f"mean reward {data['mean_reward'][-1]:.2f} at the end, {data['best_mean_reward'][-1]:.2f} at best"
        print(f"{config}: {data['episode_num'][-1]} episodes, {figures}")


@app.command()
def evaluate(
    checkpoint: Checkpoint,
    seed: EpisodeSeed = 0,
    greedy: Greedy = False,
    episodes: Episodes = 100,
    as_json: Annotated[bool, typer.Option("--json", help="print the figures as JSON")] = False,
) -> None:
    """Say how good a checkpoint's policy is."""
    with contextlib.redirect_stdout(sys.stderr):  # what libraries print is not the result
        from hw4.experiments import load_policy
        from hw4.study import evaluation

        result = evaluation.evaluate(*load_policy(checkpoint), episodes=episodes, seed=seed, greedy=greedy)
    if as_json:
        print(json.dumps(result))
        return
    print(
        f"mean reward {result['mean']:.2f}, standard deviation {result['std']:.2f}, over {result['episodes']} episodes"
    )
    print(f"{result['fraction_at_least_200']:.1%} of the episodes reached 200")
    print(f"mean length {result['mean_length']:.1f} steps")


@app.command()
def record(
    checkpoint: Checkpoint,
    seed: EpisodeSeed = 0,
    greedy: Greedy = False,
    out: Annotated[
        Path | None, output("an .mp4 or .gif file", show_default="the checkpoint's name with .mp4, here")
    ] = None,
) -> None:
    """Record an episode of a checkpoint's policy as a video."""
    out = out or Path(f"{checkpoint.stem}.mp4")
    check_file_writable(out)

    from hw4.experiments import load_policy
    from hw4.study import evaluation

    n_steps, reward = evaluation.record(*load_policy(checkpoint), out, seed=seed, greedy=greedy)
    print(f"{out}: {n_steps} steps, reward {reward:.2f}")


@app.command()
def plot(
    results: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="files that train --out wrote")],
    out: Annotated[Path, output("the figure, a .png, .svg or .pdf file")],
    dpi: Dpi = 80,
) -> None:
    """Draw the learning curves of results files."""
    check_file_writable(out)

    from hw4.files import load_training_data
    from hw4.study.plots import plot_experiment_results, save

    data: dict[str, Any] = {}
    for file in results:
        found = load_training_data(file)
        if twice := sorted(data.keys() & found.keys()):
            raise ValueError(f"{file} holds {', '.join(twice)} again: name one file for each configuration")
        data |= found
    save(plot_experiment_results(data), out, dpi=dpi)
    print(out)


@app.command()
def sweep(
    configs: Annotated[list[SweepConfig], typer.Argument(help="the configurations")],
    out: Annotated[Path, output("the file of all runs' records")] = Path("sweep.json"),
    seeds: Annotated[int, typer.Option(min=1, max=100_000, help="how many seeds")] = 10,
    first_seed: Annotated[int, typer.Option(min=0, max=2**62, help="the first of them")] = 0,
    episodes: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_EPISODES, help="of each run", show_default="6000, and 15000 for aac_long"),
    ] = None,
    evaluate: Annotated[
        int,
        typer.Option(min=0, max=MOST_EPISODES, help="episodes to evaluate the final policy over; 0 for no evaluation"),
    ] = 0,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE,...", help="values to try, as in learn_rate=0.01,0.02; repeatable, and combined"
        ),
    ] = None,
    cluster: Annotated[Literal["local", "slurm"], typer.Option(help="run here, or on a Slurm cluster")] = "local",
    partition: Annotated[str | None, typer.Option(help="Slurm's", show_default="the cluster's")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="runs at a time", show_default="as many as possible")
    ] = None,
) -> None:
    """Train configurations with many seeds and overrides.

    There are as many runs at a time as processors here, or one array job on a Slurm cluster. The records of all runs
    are gathered in one file. Started again, a sweep does only what is missing. aac_long is aac with 15,000 episodes.
    """
    check_file_writable(out)

    from hw4.study import sweep

    names, seed_range = [config.value for config in configs], range(first_seed, first_seed + seeds)
    runs = sweep.runs_of(names, seed_range, overrides or (), episodes, evaluate)
    records = sweep.sweep(runs, out, cluster=cluster, jobs=jobs, partition=partition)
    print(sweep.table(records))
    print(f"results: {out}")


@app.command()
def analyse(
    out: Annotated[Path, output("the .json file of what was measured")],
    seed: Annotated[int, typer.Option(min=0, help="of the run")] = 42,
) -> None:
    """Train aac with one seed, and look into the run.

    The gradient's noise, the critic's quality, and where the policy spends its time are measured.
    """
    check_file_writable(out)

    from hw4.experiments import hyperparams_of
    from hw4.study import analysis

    write_json(out, analysis.analyse(hyperparams_of("aac"), seed), analysis.SCHEMA)
    print(out)


@app.command()
def figures(
    out_dir: Annotated[Path, typer.Option(help="where the figures go; made if missing")],
    seeds: Annotated[
        Path, typer.Option(exists=True, help="what sweep --evaluate wrote", show_default="results/part1_seeds.json")
    ] = RESULTS / "part1_seeds.json",
    analysis: Annotated[
        Path, typer.Option(exists=True, help="what analyse wrote", show_default="results/analysis.json")
    ] = RESULTS / "analysis.json",
    dpi: Dpi = 80,
) -> None:
    """Draw a sweep's and an analysis's figures as PNGs."""
    out_dir.mkdir(parents=True, exist_ok=True)
    check_folder_writable(out_dir)

    from hw4.study import plots
    from hw4.study.analysis import load_analysis
    from hw4.study.sweep import load_runs

    runs, measured = load_runs(seeds), load_analysis(analysis)
    drawn = {
        "seeds": plots.plot_seeds(runs),
        "evaluations": plots.plot_evaluations(runs),
        "reached": plots.plot_fraction_reached(runs),
        "gradient_noise": plots.plot_gradient_noise(measured),
        "critic": plots.plot_critic(measured),
        "time_use": plots.plot_state_occupancy(measured),
    }
    for name, figure in drawn.items():
        plots.save(figure, out_dir / f"{name}.png", dpi=dpi)
        print(out_dir / f"{name}.png")


@app.command()
def numbers() -> None:
    """Write the numbers and tables in the prose anew.

    They are those of the README, the documents and the notebook that come from the results, and are marked there.
    """
    from cs236781.notebook_files import notebook_bytes, read_notebook
    from hw4.study.numbers import TEXTS, Data, rewritten

    data = Data(PROJECT)
    for file in map(PROJECT.joinpath, TEXTS):
        before = file.read_bytes()
        if file.suffix == ".ipynb":
            notebook = read_notebook(file)
            for cell in notebook.cells:
                cell.source = rewritten(cell.source, data)
            after = notebook_bytes(notebook)
        else:
            after = rewritten(before.decode(), data).encode()
        if after != before:
            write_whole(file, after)
        print(f"{file.relative_to(PROJECT)}: {'as the data have it' if after == before else 'written anew'}")


def main(arguments: list[str]) -> int:
    """Run the command that the arguments name, and return the exit status."""
    return run(app, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
