"""The project under a real Slurm: a cluster of this one machine, which tests/slurm.sh starts and stops."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import nbformat
import pytest

from hw4.study import slurm
from hw4.study.slurm import call_each
from tests.notebooks import write_notebook

ROOT = Path(__file__).resolve().parents[3]
CLUSTER = ROOT / "tests" / "slurm.sh"
SRUN = ["srun", "-c2"]
XVFB_RUN = ["xvfb-run", "-a", "-s", "-screen 0 1440x900x24"]
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "dist", "out", "monitor")


def run(*command, **options):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600, **options)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """What the environment needs for the cluster to be its own."""
    folder = tmp_path_factory.mktemp("slurm") / "cluster"
    started = run(CLUSTER, "start", folder)
    if started.returncode == 2:
        pytest.skip(f"no Slurm to test with: {started.stderr.strip()}")
    assert started.returncode == 0, started.stderr
    name, value = started.stdout.removeprefix("export ").rstrip().split("=")
    yield {name: value}
    stopped = run(CLUSTER, "stop", folder)
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert not folder.exists()


@pytest.fixture
def environment(cluster, tmp_path):
    """Of a student's shell on the cluster, with Jupyter's files out of the way."""
    jupyter = {f"JUPYTER_{what}_DIR": str(tmp_path / what) for what in ("CONFIG", "DATA", "RUNTIME")}
    return {**os.environ, "OMP_NUM_THREADS": "1", **cluster, **jupyter}


@pytest.fixture
def xvfb():
    if shutil.which("xvfb-run") is None:
        pytest.skip("there is no xvfb-run: run 'apt-get install xvfb xauth'")


def test_the_script_says_what_is_missing(tmp_path):
    for program in ("bash", "python3"):
        (tmp_path / program).symlink_to(shutil.which(program))
    result = run(CLUSTER, "start", tmp_path / "cluster", env={"PATH": str(tmp_path)})
    assert result.returncode == 2
    assert re.fullmatch(r"tests/slurm\.sh: there is no \w+: run 'apt-get install [\w -]+'\n", result.stderr)
    assert not (tmp_path / "cluster").exists()


def test_the_script_stops_only_what_it_started(cluster, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    result = run(CLUSTER, "stop", tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith(f"tests/slurm.sh: there is no slurm.conf in {tmp_path}: ")
    assert (tmp_path / "mine.txt").exists()


FILMING = """
from cs236781 import jupyter_utils
from hw4.rl_pg import PolicyAgent, PolicyNet
from hw4.study import evaluation

evaluation.record(PolicyAgent, PolicyNet(8, 4, hidden_layers=[4]), 1, "film.mp4")
jupyter_utils.show_video_in_notebook("film.mp4")
"""


def test_a_job_runs(environment):
    result = run(*SRUN, "sh", "-c", "echo $SLURM_CPUS_PER_TASK; hostname", env=environment)
    assert result.stdout.split() == ["2", os.uname().nodename], result.stderr


def test_a_submission_is_prepared_under_srun_and_xvfb_run(environment, xvfb, tmp_path):
    """Of a notebook that films a flight; the lesson itself takes a minute, and is run by other tests."""
    project = tmp_path / "project"  # a copy: the notebook is run in place
    shutil.copytree(ROOT, project, ignore=NOT_COPIED)
    write_notebook(project / "Part1_DeepRL.ipynb", FILMING)
    command = [sys.executable, "main.py", "prepare-submission", "--id", "1"]
    result = run(*SRUN, *XVFB_RUN, *command, env=environment, cwd=project)
    assert result.returncode == 0, result.stderr
    with zipfile.ZipFile(project / "hw4-1.zip") as archive:
        notebook = nbformat.reads(archive.read("hw4-1/Part1_DeepRL.ipynb").decode(), as_version=4)
        assert archive.read("hw4-1/hw4-1.html").count(b"data:video/mp4;base64,") == 1
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


def answer(address, token, **options):
    """The status and the text that a server answers with; None while nothing listens there."""
    request = urllib.request.Request(address, headers={"Authorization": f"token {token}"}, **options)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except urllib.error.URLError:
        return None


def test_jupyter_lab_answers_in_a_job_until_it_is_shut_down(environment):
    # --allow-root: JupyterLab wants it said when root, who alone can start the cluster, starts it
    command = ["timeout", "300", *SRUN, str(ROOT / "jupyter-lab.sh"), "--allow-root"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as job:
        try:
            lines = iter(job.stderr.readline, "")
            printed = next(found for line in lines if (found := re.search(r"(http://127.+)/lab\?token=(\w+)", line)))
            address, token = printed.groups()
            while (answered := answer(f"{address}/lab", token)) is None:  # it prints its address before it listens
                time.sleep(0.1)
            status, page = answered
            assert status == 200
            assert "<title>JupyterLab</title>" in page
            assert answer(f"{address}/api/contents", "guessed") == (403, "")
            assert answer(f"{address}/api/shutdown", token, method="POST") == (200, "")
            job.stderr.read()
            assert job.wait() == 0
        finally:
            job.terminate()
    assert answer(f"{address}/lab", token) is None


@pytest.fixture
def quick(monkeypatch):
    """Looks at the queue that a test need not wait for."""
    for name in ("LOOK_SECONDS", "QUEUE_SECONDS", "ANSWER_SECONDS"):
        monkeypatch.setattr(slurm, name, 0.5)


@pytest.fixture
def in_cluster(environment, quick, monkeypatch):
    """This process as on the cluster."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def queued(folder):
    """The jobs of a folder's files that wait or run."""
    ids = {path.name.partition("_")[0] for path in folder.glob("*_submission.sh")}
    lines = run("squeue", "--noheader", "--states=PENDING,RUNNING", "--format=%A").stdout.split()
    return ids & set(lines)


@pytest.mark.usefixtures("in_cluster")
def test_all_calls_are_one_array_job(tmp_path):
    assert dict(call_each(time.sleep, [(0,)] * 3, tmp_path, at_once=2)) == {0: None, 1: None, 2: None}
    (script,) = tmp_path.glob("*_submission.sh")
    assert "#SBATCH --array=0-2%2\n" in script.read_text()
    assert "#SBATCH --time=180\n" in script.read_text()  # minutes


@pytest.mark.usefixtures("in_cluster")
def test_a_call_that_fails_says_why(tmp_path):
    outcomes = dict(call_each(divmod, [(1, 1), (1, 0)], tmp_path))
    assert outcomes == {0: None, 1: "ZeroDivisionError: integer division or modulo by zero"}


@pytest.mark.usefixtures("in_cluster")
def test_a_task_that_slurm_ends_is_missed(tmp_path):
    outcomes = call_each(time.sleep, [(0,), (600,)], tmp_path / "a folder")
    assert next(outcomes) == (0, None)
    (script,) = (tmp_path / "a folder").glob("*_submission.sh")
    run("scancel", f"{script.name.partition('_')[0]}_1")
    ((number, why),) = outcomes
    assert number == 1
    assert why.startswith("Slurm ended it (CANCELLED); its log is ")


@pytest.mark.usefixtures("in_cluster")
def test_what_runs_is_cancelled_with_the_iteration_and_not_doubled_before(tmp_path):
    outcomes = call_each(time.sleep, [(0,), (600,)], tmp_path)
    next(outcomes)
    assert queued(tmp_path)
    with pytest.raises(RuntimeError, match="still in the queue: let it end, or 'scancel "):
        next(call_each(time.sleep, [(0,), (600,)], tmp_path))
    outcomes.close()
    assert not queued(tmp_path)


@pytest.mark.usefixtures("in_cluster")
def test_a_job_that_slurm_refuses_is_an_error(tmp_path, capfd):
    with pytest.raises(RuntimeError, match=r"^Slurm refused the job: .*[Ii]nvalid partition"):
        next(call_each(time.sleep, [(0,), (0,)], tmp_path, partition="elsewhere"))
    assert capfd.readouterr().err == ""


def test_a_machine_without_slurm_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="there is no Slurm on this machine"):
        next(call_each(time.sleep, [(0,)], tmp_path))


def sweep(out, *arguments, **options):
    command = [sys.executable, ROOT / "main.py", "sweep", "--episodes", 20, "--out", out, *arguments]
    return run(*command, cwd=ROOT, **options)


def records(file):
    """A sweep's, without the seconds that its runs took."""
    runs = json.loads(file.read_text())["runs"]
    return [{key: value for key, value in run.items() if key != "train_seconds"} for run in runs]


def test_a_sweep_has_the_same_records_on_slurm_as_here(environment, tmp_path):
    for cluster in ("local", "slurm"):
        arguments = ["vpg", "aac", "--seeds", 2, "--cluster", cluster]
        result = sweep(tmp_path / f"{cluster}.json", *arguments, env=environment)
        assert result.returncode == 0, result.stderr
    assert len(records(tmp_path / "slurm.json")) == 4
    assert records(tmp_path / "slurm.json") == records(tmp_path / "local.json")
    assert not (tmp_path / "slurm.runs").exists()


def test_a_sweep_names_a_run_that_fails_and_keeps_the_others(environment, tmp_path):
    out = tmp_path / "sweep.json"
    arguments = ["vpg", "--seeds", 1, "--cluster", "slurm"]
    result = sweep(out, *arguments, "--set", "initial_logits=[0,0,0,0],[1]", env=environment)
    assert result.returncode == 2
    assert re.search(r"^main.py sweep: error: 1 of 2 runs failed: vpg-0-\w+: \w+Error: .+\n\Z", result.stderr, re.M)
    again = sweep(out, *arguments, "--set", "initial_logits=[0,0,0,0]", env=environment)
    assert again.returncode == 0, again.stderr
    assert "1 runs, 1 of them done before" in again.stdout
    assert [record["overrides"] for record in records(out)] == [["initial_logits=[0, 0, 0, 0]"]]
