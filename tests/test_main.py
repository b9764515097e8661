import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK_COMMANDS = ["run-nb", "clear-nb", "prepare-submission", "check-submission"]
TRAINING_COMMANDS = ["run-all", "train", "evaluate", "record", "plot", "sweep", "analyse", "figures"]
COMMANDS = NOTEBOOK_COMMANDS + TRAINING_COMMANDS
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}


def run(*arguments, cwd=ROOT, program=ROOT / "main.py"):
    command = [sys.executable, str(program), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)


def assert_refused(result, command, *parts):
    """One line on stderr that names the command and the problem, and status 2."""
    name = f"main.py {command}".strip()
    assert result.stderr.startswith(f"{name}: error: ")
    assert result.stderr.count("\n") == 1
    assert all(part in result.stderr for part in parts)
    assert result.returncode == 2
    assert result.stdout == ""


@pytest.fixture
def notebook(tmp_path):
    path = tmp_path / "Part1_Test.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("print(1 + 1)", id="a")]), path)
    return path


# --- help and wrong use


def test_help_lists_every_command():
    result = run("--help")
    assert result.returncode == 0
    assert all(command in result.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    result = run(command, "--help")
    assert result.returncode == 0
    assert f"usage: main.py {command}" in result.stdout


def test_help_does_not_wait_for_heavy_imports():
    code = (
        "import sys, main\nheavy = {'torch', 'hw4', 'nbclient', 'nbconvert', 'numpy'}\nprint(heavy & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "COMMAND"),
        (["frobnicate"], "frobnicate"),
        (["run-nb"], "NB"),
        (["run-nb", "missing.ipynb"], "there is no notebook missing.ipynb"),
        (["run-nb", "x.ipynb", "--timeout", "0"], "--timeout"),
        (["clear-nb", "missing.ipynb"], "there is no notebook missing.ipynb"),
        (["clear-nb", "x.ipynb", "--frobnicate"], "--frobnicate"),
        (["prepare-submission"], "--id"),
        (["run-all"], "--out-dir"),
        (["run-all", "--out-dir", "x", "--num-workers", "-1"], "--num-workers"),
        (["train"], "CONFIG"),
        (["train", "xyz"], "xyz"),
        (["train", "vpg", "--episodes", "0"], "--episodes"),
        (["train", "vpg", "--episodes", "many"], "many"),
        (["train", "vpg", "--target-reward", "nan"], "nan"),
        (["train", "vpg", "--seed", "-1"], "--seed"),
        (["train", "vpg", "--device", "tpu"], "tpu"),
        (["train", "vpg", "--resume"], "--checkpoint"),
        (["train", "vpg", "--out", "missing/r.dat"], "missing does not exist"),
        (["train", "vpg", "--checkpoint", "."], "is a folder"),
        (["evaluate"], "CHECKPOINT"),
        (["evaluate", "x", "--episodes", "0"], "--episodes"),
        (["record", "x", "--out", "x.txt"], "x.txt"),
        (["record", "x", "--out", "missing/x.mp4"], "missing does not exist"),
    ],
)
def test_wrong_use(tmp_path, arguments, problem):
    command = arguments[0] if arguments and arguments[0] in COMMANDS else ""
    assert_refused(run(*arguments, cwd=tmp_path), command, problem)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "problem"), [("frobs=1", "frobs"), ("learn_rate=fast", "learn_rate"), ("learn_rate", "learn_rate")]
)
def test_wrong_settings(setting, problem):
    assert_refused(run("train", "vpg", "--set", setting), "train", problem)


@pytest.mark.parametrize("command", ["evaluate", "record"])
def test_a_file_that_is_no_checkpoint(tmp_path, command):
    (tmp_path / "x.dat").write_bytes(b"not a checkpoint")
    assert_refused(run(command, "x.dat", cwd=tmp_path), command, "x.dat")
    assert [path.name for path in tmp_path.iterdir()] == ["x.dat"]


def test_a_file_that_is_no_notebook(tmp_path):
    (tmp_path / "x.ipynb").write_text("text")
    assert_refused(run("run-nb", "x.ipynb", cwd=tmp_path), "run-nb", "not a Jupyter notebook")


def test_an_id_that_is_no_plain_identifier():
    assert_refused(run("prepare-submission", "--id", "a/b"), "prepare-submission", "a/b")


def copy_tools(folder):
    """A project of its own with main.py and the course's tools; returns its main.py."""
    shutil.copytree(ROOT / "cs236781", folder / "cs236781", ignore=shutil.ignore_patterns("__pycache__"))
    return Path(shutil.copy(ROOT / "main.py", folder))


def broken_main(tmp_path, error):
    """Run a main.py in which clear-nb goes wrong."""
    program = copy_tools(tmp_path)
    source = program.read_text()
    assert source.count("    check_present(args.notebooks)\n") == 2
    program.write_text(source.replace("    check_present(args.notebooks)\n", f"    {error}\n"))
    return run("clear-nb", "x", cwd=tmp_path, program=program)


@pytest.mark.parametrize("error", ["int('x')", "None + 1", "[][0]", "assert False", "{}['key']"])
def test_a_bug_shows_its_traceback(tmp_path, error):
    result = broken_main(tmp_path, error)
    assert "Traceback" in result.stderr
    assert result.returncode == 1


@pytest.mark.parametrize(
    "error",
    [
        "ValueError('a\\nb')",
        "TypeError('a b')",
        "__import__('pickle').UnpicklingError('a b')",
        "FloatingPointError('a b')",
    ],
)
def test_an_answer_is_one_line(tmp_path, error):
    assert_refused(broken_main(tmp_path, f"raise {error}"), "clear-nb", "a b")


# --- notebooks


def test_run_nb_and_clear_nb(notebook):
    cleared = notebook.read_bytes()
    assert run("run-nb", notebook).returncode == 0
    assert nbformat.read(notebook, as_version=4).cells[0].outputs[0].text == "2\n"
    assert run("clear-nb", notebook).returncode == 0
    assert nbformat.read(notebook, as_version=4).cells[0].outputs == []
    assert nbformat.read(notebook, as_version=4).cells == nbformat.reads(cleared.decode(), as_version=4).cells


def test_run_nb_of_a_failing_notebook(tmp_path, notebook):
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0", id="a")]), notebook)
    before = notebook.read_bytes()
    result = run("run-nb", notebook)
    assert result.stderr.splitlines()[-1].startswith("main.py run-nb: error: Part1_Test.ipynb: cell 1")
    assert "Traceback" not in result.stderr
    assert result.returncode == 2
    assert notebook.read_bytes() == before


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_with_one_line_and_status_130(sent, tmp_path, notebook):
    started = tmp_path / "started"
    code = f"import time\nopen({str(started)!r}, 'w')\ntime.sleep(600)"
    nbformat.write(new_notebook(cells=[new_code_cell(code, id="a")]), notebook)
    command = [sys.executable, str(ROOT / "main.py"), "run-nb", str(notebook)]
    process = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not started.exists() and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(sent)
    stderr = process.communicate(timeout=60)[1]
    assert stderr.splitlines()[-1] == "main.py run-nb: interrupted"
    assert "Traceback" not in stderr
    assert process.returncode == 130


def test_prepare_submission(tmp_path, notebook):
    program = copy_tools(tmp_path)
    (tmp_path / "in").mkdir()
    arguments = ["prepare-submission", "--id", "123", "--id", "ab4", "--out-dir", "in"]
    result = run(*arguments, cwd=tmp_path, program=program)
    assert result.returncode == 0, result.stderr
    with zipfile.ZipFile(tmp_path / "in" / "hw4-123_ab4.zip") as archive:
        assert {"hw4-123_ab4/main.py", "hw4-123_ab4/hw4-123_ab4.html"} <= set(archive.namelist())
        assert b"1 + 1" in archive.read("hw4-123_ab4/Part1_Test.ipynb")
    result = run(*arguments, "--skip-run", cwd=tmp_path, program=program)
    assert "not run" in result.stdout


def test_run_all_puts_everything_into_one_folder(tmp_path):
    project = tmp_path / "project"
    (project / "hw4").mkdir(parents=True)
    (project / "hw4" / "__init__.py").touch()
    (project / "hw4" / "experiments.py").write_text(
        textwrap.dedent("""
            def run_experiments(*, results_dir, checkpoints_dir, num_workers):
                for folder in (results_dir, checkpoints_dir):
                    folder.mkdir()
                    (folder / "x.dat").write_text(f"{num_workers} workers")
        """)
    )
    code = "from pathlib import Path\nimport hw4.experiments\nprint(Path('results/x.dat').read_text())"
    nbformat.write(new_notebook(cells=[new_code_cell(code, id="a")]), project / "Part1_DeepRL.ipynb")
    before = (project / "Part1_DeepRL.ipynb").read_bytes()
    result = run("run-all", "--out-dir", "out", "--num-workers", "3", cwd=tmp_path, program=copy_tools(project))
    assert result.returncode == 0, result.stderr
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "results",
        "checkpoints",
        "Part1_DeepRL.ipynb",
        "Part1_DeepRL.html",
    }
    assert "3 workers" in (out / "Part1_DeepRL.html").read_text()
    assert (project / "Part1_DeepRL.ipynb").read_bytes() == before
    assert str(out / "Part1_DeepRL.html") in result.stdout


# --- training and playing


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    arguments = "train vpg --episodes 8 --set batch_size=4 --seed 0 --num-workers 0 --out r.dat --checkpoint c.dat"
    result = run(*arguments.split(), cwd=folder)
    assert result.returncode == 0, result.stderr
    assert "vpg: 8 episodes, mean reward" in result.stdout
    return folder


def test_train_writes_results_that_plain_pickle_reads(trained):
    with (trained / "r.dat").open("rb") as file:
        results = pickle.load(file)
    assert results["vpg"]["episode_num"] == [4, 8]
    assert "model_state" in results["vpg"]


def test_train_leaves_nothing_else(trained):
    assert {"c.dat", "r.dat"} == {path.name for path in trained.iterdir() if path.suffix == ".dat"}


def test_training_resumes(trained, tmp_path):
    shutil.copy(trained / "c.dat", tmp_path)
    arguments = "train vpg --episodes 12 --set batch_size=4 --seed 0 --num-workers 0 --checkpoint c.dat --resume"
    result = run(*arguments.split(), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "vpg: 12 episodes" in result.stdout


def test_evaluate_prints_json_alone(trained):
    result = run("evaluate", "c.dat", "--episodes", "3", "--seed", "1", "--greedy", "--json", cwd=trained)
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout)
    assert set(figures) == {"mean", "std", "share_at_least_200", "share_at_rest", "mean_length", "episodes"}
    assert figures["episodes"] == 3


def test_evaluate_in_words(trained):
    result = run("evaluate", "c.dat", "--episodes", "2", cwd=trained)
    assert result.returncode == 0, result.stderr
    assert "over 2 episodes" in result.stdout


def test_record_writes_a_video(trained, tmp_path):
    result = run("record", trained / "c.dat", "--greedy", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["c.mp4"]
    assert (tmp_path / "c.mp4").read_bytes()[4:8] == b"ftyp"


def test_plot_draws_results(trained, tmp_path):
    result = run("plot", trained / "r.dat", "--out", "curves.png", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("workers", "sent"),
    [
        (0, signal.SIGINT),
        (0, signal.SIGTERM),
        pytest.param(2, signal.SIGINT, marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")),
    ],
)
def test_ctrl_c_ends_training_and_keeps_what_was_learned(workers, sent, tmp_path):
    arguments = f"train cpg --set batch_size=2 --seed 0 --num-workers {workers} --out r.dat --checkpoint c.dat"
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), *arguments.split()],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "c.dat").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    if process.poll() is None:
        os.killpg(process.pid, sent)  # as a terminal does: the workers get it too
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr
    assert "Traceback" not in stderr
    assert "interrupted" in stdout
    with (tmp_path / "r.dat").open("rb") as file:
        results = pickle.load(file)["cpg"]
    assert len(results["mean_reward"]) == len(results["episode_num"]) >= 1
    assert {path.name for path in tmp_path.iterdir()} == {"c.dat", "r.dat"}


def test_a_broken_pipe_is_quiet():
    program = textwrap.dedent("""
        import sys, main
        def talk(args):
            "Print for long."
            for _ in range(100_000):
                print("x" * 100)
        main.COMMANDS["evaluate"] = main.Command(talk, main.evaluate_arguments)
        sys.exit(main.main(["evaluate", "c.dat"]))
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 141
    process.stderr.close()


# --- JupyterLab's script


def test_jupyter_lab_script_starts_from_anywhere(tmp_path):
    if not (ROOT / ".venv" / "bin" / "python").exists() and shutil.which("python3") is None:
        pytest.skip("no Python to start it with")
    result = subprocess.run(
        [str(ROOT / "jupyter-lab.sh"), "--version"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("4.")
