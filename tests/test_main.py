"""The command line as a user meets it: nearly every command runs in a process of its own."""

import inspect
import json
import os
import pickle
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import get_args

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell

import main
from cs236781.files import write_json
from hw4 import experiments
from hw4.study import analysis, numbers
from tests.notebooks import write_notebook

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK_COMMANDS = ["run-nb", "clear-nb", "prepare-submission"]
TRAINING_COMMANDS = ["run-all", "train", "evaluate", "record", "plot", "sweep", "analyse", "figures", "numbers"]
INSTRUCTORS_COMMANDS = ["check-submission", "prepare-dist", "prepare-gradescope"]
STOPS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (getattr(signal, "SIGHUP", signal.SIGINT), 129)]
COMMANDS = NOTEBOOK_COMMANDS + TRAINING_COMMANDS
if (ROOT / "cs236781" / "grading").is_dir():
    COMMANDS += INSTRUCTORS_COMMANDS
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "", "COLUMNS": "80"}
SETUP = "import sys\nimport main\nfrom cs236781.cli import run\n"
STAGE = {
    **{"episodes": 5, "batches": 2, "gradient": {name: {"variance": 1.0} for name in analysis.ESTIMATORS}},
    "critic": dict.fromkeys(("v", "q", "q10", "q90"), [0.5] * 20),
    "time": {"ends": {"crash": 1.0}, "height": [1.0], "where": {"in the air": {"share": 1.0, "actions": [0.25] * 4}}},
}
MEASURED = {"explained_variance": dict.fromkeys(("episodes", "value"), [0.5] * 24), "stages": {"x": STAGE}}
NO_FILES = ("", ".", "..", "/", "new/")  # and yet they were taken for a file's name
WRITERS = ("record file", "plot file", "sweep vpg", "analyse")
COMMAND = f"{SETUP}@main.app.command()\ndef work():\n    {{}}\n\nsys.exit(run(main.app, ['work']))\n"


def run(*arguments, cwd=ROOT, program=ROOT / "main.py", **environment):
    command = [sys.executable, program, *map(str, arguments)]
    environment = ENVIRONMENT | environment
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def start(*arguments, cwd, until):
    """Start a command in a session of its own, and return once it has made the file `until`."""
    process = subprocess.Popen(
        [sys.executable, ROOT / "main.py", *map(str, arguments)],
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not until.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return process


def process_group_lives(number):
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


def assert_done(result):
    assert result.returncode == 0, result.stderr


def assert_refused(result, command, problem):
    """One line on stderr that names the command and the problem, and status 2."""
    assert result.stderr.startswith(f"{f'main.py {command}'.strip()}: error: ")
    assert result.stderr.count("\n") == 1
    assert problem in result.stderr
    assert result.returncode == 2
    assert result.stdout == ""


def copy_tools(folder):
    """Copy main.py and the course's tools, without the instructor's, into a project of its own; returns its main.py."""
    left_out = shutil.ignore_patterns("__pycache__", "grading", "distribution.py")
    shutil.copytree(ROOT / "cs236781", folder / "cs236781", ignore=left_out)
    return Path(shutil.copy(ROOT / "main.py", folder))


@pytest.fixture
def notebook(tmp_path):
    return write_notebook(tmp_path / "Part1_Test.ipynb", "print(1 + 1)")


# --- help, completion and wrong use


def test_help_lists_every_command_and_says_in_a_line_what_it_does():
    listed = re.findall(r"^  ([a-z-]+)  +[A-Z].*\.$", run("--help").stdout.partition("Commands:")[2], re.M)
    assert sorted(listed) == sorted(COMMANDS)


def test_help_of_each_command_waits_for_no_heavy_import():
    heavy = {"torch", "hw4", "gymnasium", "numpy", "matplotlib", "nbclient", "nbconvert", "rich"}
    program = f"{SETUP}for command in {COMMANDS}: run(main.app, [command, '--help'])\nprint({heavy} & {{*sys.modules}})"
    result = run(program, program="-c")
    assert_done(result)
    assert re.findall(r"^Usage: main.py (\S+)", result.stdout, re.M) == COMMANDS
    assert result.stdout.endswith("\nset()\n")


def test_the_instructors_commands_are_absent_without_their_folder(tmp_path):
    result = run("--help", program=copy_tools(tmp_path))
    assert_done(result)
    assert not [command for command in INSTRUCTORS_COMMANDS if command in result.stdout]


@pytest.mark.parametrize(
    ("words", "completed"), [("tr", "train"), ("sweep aac cp", "cpg"), ("train aac --dev", "--device")]
)
def test_completion(words, completed):
    variables = {"COMP_WORDS": f"main.py {words}", "COMP_CWORD": str(len(words.split()))}
    assert run(**variables, **{"_MAIN.PY_COMPLETE": "complete_bash"}).stdout == f"{completed}\n"


def test_signatures_agree_with_the_experiments():
    assert get_args(main.Config) == experiments.CONFIG_NAMES
    assert [*main.SweepConfig] == [*experiments.CONFIG_NAMES, experiments.LONG_NAME]
    assert inspect.signature(main.train).parameters["episodes"].default == experiments.MAX_EPISODES


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("", "Missing command"),
        ("trian", "Did you mean 'train'?"),
        ("--frobnicate", "--frobnicate"),
        ("run-nb", "notebooks"),
        ("run-nb missing.ipynb", "'missing.ipynb' does not exist"),
        ("run-nb file --timeout 0", "--timeout"),
        ("run-nb file", "not a Jupyter notebook"),
        ("clear-nb file missing.ipynb", "'missing.ipynb' does not exist"),
        ("prepare-submission", "--id"),
        ("prepare-submission --id a/b", "a/b"),
        ("run-all", "--out-dir"),
        ("run-all --out-dir file", "file"),
        ("train", "Choose from: vpg, epg, bpg, cpg, aac"),
        ("train xyz", "'xyz' is not one of 'vpg', 'epg', 'bpg', 'cpg', 'aac'"),
        ("train vpg epg", "epg"),
        ("train vpg --episodes", "--episodes"),
        ("train vpg --episodes 0", "--episodes"),
        ("train vpg --episodes many", "'--episodes': Input should be a valid integer"),
        ("train vpg --target-reward nan", "nan"),
        ("train vpg --seed -1", "'--seed': Input should be greater than or equal to 0"),
        ("train vpg --device tpu", "tpu"),
        ("train vpg --out r.dat --checkpoint ./r.dat", "--out and --checkpoint name one file"),
        ("train vpg --out file", "file is not a results file"),
        ("train vpg --seed 18446744073709551616", "seed must be"),
        ("train vpg --out file/r.dat", "file is a file, and a folder is needed"),
        ("train vpg --set frobs=1", "frobs"),
        ("train vpg --set learn_rate", "learn_rate"),
        ("evaluate", "checkpoint"),
        ("evaluate missing", "'missing' does not exist"),
        ("evaluate file", "file is not a checkpoint"),
        ("evaluate file --episodes 0", "--episodes"),
        ("record file --out file/x.mp4", "file is a file, and a folder is needed"),
        ("plot file --dpi 0", "--dpi"),
        ("plot file --out x.png --dpi 100000000", "'--dpi': Input should be less than or equal to 1200"),
        *((f"train vpg --{option} {bad}", "names no file") for option in ("out", "checkpoint") for bad in NO_FILES),
        *((f"{command} --out {bad}", "names no file") for command in WRITERS for bad in (".", "a/")),
        (f"train vpg --episodes {2**64}", "'--episodes': Input should be less than or equal to 1000000"),
        ("train vpg --num-workers 70000", "'--num-workers': Input should be less than or equal to 1024"),
        ("train vpg --set hidden_layers=[8400,8400]", "a network that has up to 10,000,000 parameters"),
        ("train vpg --set gamma={[]:1}", "gamma must be a number from 0 to 1"),
        ("sweep aac --jobs 99999999999", "'--jobs': Input should be less than or equal to 10000"),
        (f"sweep aac --seeds {10**12}", "'--seeds': Input should be less than or equal to 100000"),
        ("sweep aac xyz", "xyz"),
        ("sweep aac --set nosuch=1", "no hyperparameter 'nosuch'"),
        ("sweep aac --first-seed -1", "--first-seed"),
        ("figures --out-dir . --seeds missing", "missing"),
    ],
)
def test_wrong_use_ends_with_one_line_and_leaves_nothing(tmp_path, arguments, problem):
    (tmp_path / "file").write_text("text")
    words = arguments.split(" ") if arguments else []
    command = words[0] if words and words[0] in COMMANDS else ""
    assert_refused(run(*words, cwd=tmp_path), command, problem)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def run_statement(folder, statement):
    """Run a command that consists of a statement, in a project of its own."""
    program = copy_tools(folder).with_name("program.py")
    program.write_text(COMMAND.format(statement))
    return run(program=program)


@pytest.mark.parametrize("statement", ["int('x')", "None + 1", "[][0]", "assert False", "{}['key']"])
def test_a_bug_shows_its_traceback(tmp_path, statement):
    result = run_statement(tmp_path, statement)
    assert "Traceback" in result.stderr
    assert result.returncode == 1


@pytest.mark.parametrize("error", ["ValueError('a\\nb')", "TypeError('a b')", "FloatingPointError('a b')"])
def test_an_expected_error_is_one_line(tmp_path, error):
    assert_refused(run_statement(tmp_path, f"raise {error}"), "work", "a b")


# --- notebooks


def test_run_nb_and_clear_nb(notebook):
    cleared = nbformat.read(notebook, as_version=4).cells
    assert_done(run("run-nb", notebook))
    assert nbformat.read(notebook, as_version=4).cells[0].outputs[0].text == "2\n"
    assert_done(run("clear-nb", notebook))
    assert nbformat.read(notebook, as_version=4).cells == cleared


def test_run_nb_of_a_failing_notebook(notebook):
    before = write_notebook(notebook, "1 / 0").read_bytes()
    result = run("run-nb", notebook)
    assert result.stderr.splitlines()[-1].startswith("main.py run-nb: error: Part1_Test.ipynb: cell 1")
    assert "Traceback" not in result.stderr
    assert result.returncode == 2
    assert notebook.read_bytes() == before
    assert_done(run("run-nb", notebook, "--allow-errors"))
    assert nbformat.read(notebook, as_version=4).cells[0].outputs[0].ename == "ZeroDivisionError"


@pytest.mark.parametrize(("sent", "status"), STOPS)
def test_a_signal_ends_a_command_with_one_line(sent, status, tmp_path, notebook):
    started = tmp_path / "started"
    write_notebook(notebook, f"import time\nopen({str(started)!r}, 'w')\ntime.sleep(600)")
    process = start("run-nb", notebook, cwd=tmp_path, until=started)
    process.send_signal(sent)
    stderr = process.communicate(timeout=60)[1]
    assert stderr.splitlines()[-1] == "main.py run-nb: interrupted"
    assert "Traceback" not in stderr
    assert process.returncode == status


def test_prepare_submission(tmp_path, notebook):
    program = copy_tools(tmp_path)
    (tmp_path / "in").mkdir()
    arguments = ["prepare-submission", "--id", "123", "--id", "ab4", "--out-dir", "in"]
    assert_done(run(*arguments, cwd=tmp_path, program=program))
    with zipfile.ZipFile(tmp_path / "in" / "hw4-123_ab4.zip") as archive:
        assert {"hw4-123_ab4/main.py", "hw4-123_ab4/hw4-123_ab4.html"} <= set(archive.namelist())
        assert b"1 + 1" in archive.read("hw4-123_ab4/Part1_Test.ipynb")
    assert "not run" in run(*arguments, "--skip-run", cwd=tmp_path, program=program).stdout


EXPERIMENTS = """
def run_experiments(*, results_dir, checkpoints_dir, num_workers):
    for folder in (results_dir, checkpoints_dir):
        folder.mkdir()
        (folder / "x.dat").write_text(f"{num_workers} workers")
"""


def test_run_all_puts_everything_into_one_folder(tmp_path):
    project, out = tmp_path / "project", tmp_path / "out"
    (project / "hw4").mkdir(parents=True)
    (project / "hw4" / "experiments.py").write_text(EXPERIMENTS)
    code = "from pathlib import Path\nimport hw4.experiments\nprint(Path('results/x.dat').read_text())"
    before = write_notebook(project / "Part1_DeepRL.ipynb", code).read_bytes()
    result = run("run-all", "--out-dir", "out", "--num-workers", "3", cwd=tmp_path, program=copy_tools(project))
    assert_done(result)
    names = {"results", "checkpoints", "Part1_DeepRL.ipynb", "Part1_DeepRL.html"}
    assert {path.name for path in out.iterdir()} == names
    assert "3 workers" in (out / "Part1_DeepRL.html").read_text()
    assert (project / "Part1_DeepRL.ipynb").read_bytes() == before
    assert str(out / "Part1_DeepRL.html") in result.stdout


# --- training and what follows


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    arguments = "train vpg --episodes 8 --set batch_size=4 --seed 0 --num-workers 0 --out r.dat --checkpoint c.dat"
    result = run(*arguments.split(), cwd=folder)
    assert_done(result)
    assert "vpg: 8 episodes, mean reward" in result.stdout
    return folder


def test_train_writes_results_that_plain_pickle_reads_and_nothing_else(trained):
    results = pickle.loads((trained / "r.dat").read_bytes())
    assert results["vpg"]["episode_num"] == [4, 8]
    assert "model_state" in results["vpg"]
    assert {path.name for path in trained.iterdir()} == {"c.dat", "c_latest.dat", "r.dat"}


def test_a_finished_training_says_so(trained):
    arguments = "train vpg --episodes 8 --set batch_size=4 --seed 0 --num-workers 0 --out r.dat --checkpoint c.dat"
    result = run(*arguments.split(), cwd=trained)
    assert_done(result)
    assert "finished already" in result.stdout


def test_a_checkpoint_that_a_finished_training_lacks_is_made(trained, tmp_path):
    shutil.copy(trained / "r.dat", tmp_path)
    arguments = "train vpg --episodes 8 --set batch_size=4 --seed 0 --num-workers 0 --out r.dat --checkpoint c.dat"
    assert_done(run(*arguments.split(), cwd=tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"c.dat", "c_latest.dat", "r.dat"}
    figures = [pickle.loads((folder / "r.dat").read_bytes())["vpg"]["mean_reward"] for folder in (tmp_path, trained)]
    assert figures[0] == figures[1]


@pytest.mark.skipif(os.name != "posix", reason="ulimit is a shell's")
def test_a_checkpoint_that_could_not_be_written_is_an_error_in_the_end(tmp_path):
    arguments = "train vpg --episodes 8 --set batch_size=4 --seed 0 --num-workers 0 --checkpoint c.dat"
    command = f"ulimit -f 40; exec {shlex.quote(sys.executable)} {shlex.quote(str(ROOT / 'main.py'))} {arguments}"
    result = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert result.returncode == 2
    assert "best checkpoint is not kept: there is no file c.dat. The same command makes it" in result.stderr
    assert "Traceback" not in result.stderr


def test_evaluate_prints_json_alone(trained):
    result = run("evaluate", "c.dat", "--episodes", "3", "--seed", "1", "--greedy", "--json", cwd=trained)
    assert_done(result)
    figures = json.loads(result.stdout)
    assert set(figures) == {"mean", "std", "fraction_at_least_200", "fraction_landed", "mean_length", "episodes"}
    assert figures["episodes"] == 3


def test_evaluate_in_words(trained):
    assert "over 2 episodes" in run("evaluate", "c.dat", "--episodes", "2", cwd=trained).stdout


def test_record_writes_a_video(trained, tmp_path):
    assert_done(run("record", trained / "c.dat", "--greedy", cwd=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["c.mp4"]
    assert (tmp_path / "c.mp4").read_bytes()[4:8] == b"ftyp"


def test_plot_draws_results(trained, tmp_path):
    assert_done(run("plot", trained / "r.dat", "--out", "curves.png", cwd=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_plot_draws_no_configuration_twice(trained):
    """The first was dropped silently."""
    assert_refused(run("plot", "r.dat", "r.dat", "--out", "x.png", cwd=trained), "plot", "r.dat holds vpg again")


def test_train_prints_the_figures_that_there_are(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(experiments, "train_into", lambda config, out, **how: {"episode_num": [8]})
    main.train("vpg", out=tmp_path / "r.dat")
    assert capsys.readouterr().out == ""


def test_analyse_writes_what_was_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(analysis, "analyse", lambda hp, seed: {**MEASURED, "delta": hp["delta"], "seed": seed})
    main.analyse(tmp_path / "new" / "a.json", seed=7)
    expected = {**MEASURED, "delta": experiments.hyperparams_of("aac")["delta"], "seed": 7}
    assert json.loads((tmp_path / "new" / "a.json").read_text()) == expected


@pytest.mark.skipif(not (ROOT / "results" / "part1_seeds.json").exists(), reason="students receive no results")
@pytest.mark.parametrize(
    ("option", "content"),
    [
        ("--seeds", '{"runs": [{"name": "x"}]}'),
        ("--seeds", "x"),
        ("--analysis", "{}"),
        ("--analysis", "[" * 100_000),
        ("--analysis", '{"explained_variance": {"episodes": [], "value": []}, "stages": {"x": 1}}'),
    ],
)
def test_figures_of_something_else_are_refused(tmp_path, option, content):
    (tmp_path / "x.json").write_text(content)
    result = run("figures", option, "x.json", "--out-dir", ".", cwd=tmp_path)
    assert_refused(result, "figures", "x.json is damaged, or of another kind")


def changed(*path, to):
    """The analysis with one part of it changed."""
    data = json.loads(json.dumps(MEASURED))
    part = data
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = to
    return data


IN_STAGE = {
    **{
        f"critic's {name} of {len(to)}": (("critic", name), to) for name in ("v", "q", "q90") for to in ([], [1.0] * 19)
    },
    "a huge number": (("critic", "v"), [10**400] * 20),
    "a stage of huge episodes": (("episodes",), 10**400),
    "no estimator": (("gradient",), {}),
    "an estimator more": (("gradient", "x"), {"variance": 1.0}),
    "no height": (("time", "height"), []),
    "a formula": (("time", "ends"), {"$x_{$": 1.0}),
    "a huge fraction": (("time", "ends", "crash"), 10**400),
}


@pytest.mark.parametrize(
    "data",
    [
        *(changed("stages", "x", *path, to=to) for path, to in IN_STAGE.values()),
        changed("stages", to={"$$": STAGE}),
        changed("stages", to={"\ud800": STAGE}),
        changed("explained_variance", "value", to=[0.5] * 23),
    ],
    ids=[*IN_STAGE, "a stage's name", "half a character", "a value less"],
)
def test_an_analysis_that_no_figure_could_show_is_neither_written_nor_read(data, tmp_path):
    file = tmp_path / "a.json"
    with pytest.raises(ValueError, match=r"\A[^\n]*a\.json is damaged, or of another kind[^\n]*\Z"):
        write_json(file, data, analysis.SCHEMA)
    file.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"a\.json is damaged, or of another kind"):
        analysis.load_analysis(file)
    file.write_text(json.dumps(MEASURED))
    assert analysis.load_analysis(file) == MEASURED


@pytest.mark.skipif(not (ROOT / "results" / "analysis.json").exists(), reason="students receive no results")
def test_figures_draws_the_committed_results(tmp_path):
    assert_done(run("figures", "--out-dir", tmp_path / "new", "--dpi", "20"))
    names = ["critic", "evaluations", "gradient_noise", "reached", "seeds", "time_use"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [f"{name}.png" for name in names]


def test_numbers_are_written_anew_in_texts_and_notebooks(tmp_path, monkeypatch, capsys):
    (tmp_path / "docs").mkdir()
    for name in numbers.TEXTS[:-1]:
        (tmp_path / name).write_text("<!--episodes-->6,000<!--/-->")
    (tmp_path / "README.md").write_text("Play <!--episodes-->7<!--/-->.")
    notebook = write_notebook(tmp_path / "Part1_DeepRL.ipynb", new_markdown_cell("In <!--episodes-->5<!--/-->."))
    monkeypatch.setattr(main, "PROJECT", tmp_path)
    main.numbers()
    assert (tmp_path / "README.md").read_text() == "Play <!--episodes-->6,000<!--/-->."
    assert nbformat.read(notebook, as_version=4).cells[0].source == "In <!--episodes-->6,000<!--/-->."
    assert [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()] == [
        "written anew",
        *["as the data have it"] * (len(numbers.TEXTS) - 2),
        "written anew",
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are started by fork")
@pytest.mark.parametrize(("workers", "sent", "status"), [(0, *STOPS[2]), *((2, *stop) for stop in STOPS)])
def test_a_signal_to_all_processes_ends_training_and_keeps_what_was_learned(workers, sent, status, tmp_path):
    arguments = f"train cpg --set batch_size=2 --seed 0 --num-workers {workers} --out r.dat --checkpoint c.dat"
    process = start(*arguments.split(), cwd=tmp_path, until=tmp_path / "c.dat")
    if process.poll() is None:
        os.killpg(process.pid, sent)  # as a terminal and Slurm do: the workers get it too
        os.killpg(process.pid, sent)  # and again, while the first is being answered
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == status, stderr
    assert "Traceback" not in stderr
    assert "interrupted" in stdout
    results = pickle.loads((tmp_path / "r.dat").read_bytes())["cpg"]
    assert len(results["mean_reward"]) == len(results["episode_num"]) >= 1
    assert {path.name for path in tmp_path.iterdir()} == {"c.dat", "c_latest.dat", "r.dat"}


@pytest.mark.parametrize(("sent", "status"), STOPS)
def test_a_signal_to_all_processes_ends_a_sweep_with_one_line(sent, status, tmp_path):
    arguments = "sweep vpg --seeds 2 --jobs 2 --episodes 100000 --out s.json"
    process = start(*arguments.split(), cwd=tmp_path, until=tmp_path / "s.json.runs")
    time.sleep(3)  # its processes start
    os.killpg(process.pid, sent)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in stderr
    assert stderr.endswith("main.py sweep: interrupted\n")


def test_a_killed_sweep_leaves_no_process(tmp_path):
    """By SIGKILL, which it cannot answer."""
    arguments = "sweep vpg --seeds 2 --jobs 2 --episodes 100000 --out s.json"
    process = start(*arguments.split(), cwd=tmp_path, until=tmp_path / "s.json.runs")
    time.sleep(3)  # its processes start
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 20
    while process_group_lives(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_broken_pipe_is_quiet():
    command = [sys.executable, "-c", COMMAND.format("for _ in range(10000): print('x' * 100)")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 141
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_output_that_cannot_be_written_costs_no_work(tmp_path):
    with Path("/dev/full").open("w") as full:
        command = [
            sys.executable,
            ROOT / "main.py",
            *["train", "vpg", "--episodes", "4", "--num-workers", "0", "--out", "r.dat"],
        ]
        done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, stdout=full, stderr=full, timeout=120)
    assert (tmp_path / "r.dat").exists()
    assert done.returncode == 2


@pytest.mark.parametrize("redirection", [">&-", "2>&-"])
def test_a_closed_stream_costs_no_work(redirection, trained, tmp_path):
    command = f'exec "{sys.executable}" "{ROOT / "main.py"}" plot "{trained / "r.dat"}" --out a.png {redirection}'
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=ENVIRONMENT, timeout=120)
    assert done.returncode == 0
    assert (tmp_path / "a.png").exists()


def test_a_name_that_the_terminal_cannot_show(trained, tmp_path):
    result = run("plot", trained / "r.dat", "--out", "\u05d2.png", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert_done(result)
    assert result.stdout == "\\u05d2.png\n"


# --- JupyterLab's script


def test_jupyter_lab_script_starts_from_anywhere(tmp_path):
    result = subprocess.run([ROOT / "jupyter-lab.sh", "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert_done(result)
    assert result.stdout.startswith("4.")


def test_ctrl_c_while_packages_are_loaded_shows_no_traceback(tmp_path):
    (tmp_path / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    command = [sys.executable, ROOT / "main.py", "--help"]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("sent", ["SIGINT", "SIGTERM"])
def test_a_signal_at_the_interpreters_end_shows_no_traceback(sent):
    """Libraries clean up then, and what the handler raised in that was printed."""
    program = (
        "import atexit, os, signal, sys, main, typer\n"
        "app = typer.Typer()\n"
        "app.command()(lambda: None)\n"
        f"atexit.register(lambda: (os.kill(os.getpid(), signal.{sent}), print('whole')))\n"
        "sys.exit(main.run(app, []))"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "whole\n", "")
