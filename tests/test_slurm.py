"""The project under a real Slurm: a cluster of this one machine, which tests/slurm.sh starts and stops."""

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

ROOT = Path(__file__).resolve().parents[1]
CLUSTER = ROOT / "tests" / "slurm.sh"
SRUN = ["srun", "-c2"]
XVFB_RUN = ["xvfb-run", "-a", "-s", "-screen 0 1440x900x24"]
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "dist", "out", "monitor")


def run(*command, **options):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, **options)


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


# --- the script


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


# --- the published commands


def test_a_job_runs(environment):
    result = run(*SRUN, "sh", "-c", "echo $SLURM_CPUS_PER_TASK; hostname", env=environment)
    assert result.stdout.split() == ["2", os.uname().nodename], result.stderr


def test_a_submission_is_prepared_under_srun_and_xvfb_run(environment, xvfb, tmp_path):
    project = tmp_path / "project"  # a copy: the notebook is run in place
    shutil.copytree(ROOT, project, ignore=NOT_COPIED)
    command = [sys.executable, "main.py", "prepare-submission", "--id", "1"]
    result = run(*SRUN, *XVFB_RUN, *command, env=environment, cwd=project)
    assert result.returncode == 0, result.stderr
    with zipfile.ZipFile(project / "hw4-1.zip") as archive:
        notebook = nbformat.reads(archive.read("hw4-1/Part1_DeepRL.ipynb").decode(), as_version=4)
        assert archive.read("hw4-1/hw4-1.html").count(b"data:video/mp4;base64,") >= 3
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


@pytest.mark.usefixtures("time_limit")
def test_jupyter_lab_answers_in_a_job_until_it_is_shut_down(environment):
    # --allow-root: JupyterLab wants it said when root, who alone can start the cluster, starts it
    command = [*SRUN, str(ROOT / "jupyter-lab.sh"), "--allow-root"]
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
