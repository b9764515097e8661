"""What is installed, and what a newcomer's machine is told: pyproject.toml, the lock, the Makefile, jupyter-lab.sh."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
GROUPS = {"base": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
PROVIDED_BY = packages_distributions()

# Each group adds to those before it; a file is checked against the first that it matches.
FILES = {
    "base": ["main.py", "hw4/**/*.py", "cs236781/cli.py", "cs236781/files.py"],
    "notebook": ["cs236781/jupyter_utils.py", "cs236781/answers.py"],
    "course": ["cs236781/*.py"],
    "dev": ["cs236781/grading/*.py", "tests/**/*.py"],
}


def imported(file: Path) -> set[str]:
    """The names of the distributions that a file imports from."""
    modules = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            modules.add(node.module)
    own = {"hw4", "cs236781", "tests", "main"}
    names = {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names) - own
    return {canonicalize_name(PROVIDED_BY[name][0]) for name in names}


def test_each_file_imports_only_what_its_group_installs():
    seen, installed = set(), set()
    for group, patterns in FILES.items():
        installed |= {canonicalize_name(Requirement(line).name) for line in GROUPS[group]}
        files = {file for pattern in patterns for file in ROOT.glob(pattern)} - seen
        seen |= files
        assert files
        for file in files:
            assert imported(file) <= installed, file


def test_the_lock_holds_what_every_group_asks_for():
    lock = dict(re.findall(r"^(\S+)==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    for requirement in (Requirement(line) for group in GROUPS.values() for line in group):
        assert requirement.specifier.contains(lock[canonicalize_name(requirement.name)]), requirement


def make(folder: Path, *arguments: str, **programs: str) -> subprocess.CompletedProcess:
    """Run make in a folder that has only what it reads, where it finds these shell scripts and no other Python."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    path = folder / "bin"
    path.mkdir()
    for name in {"sh", "uname", "tr", "grep"} - set(programs):
        (path / name).symlink_to(str(shutil.which(name)))
    for name, script in programs.items():
        (path / name).write_text(f"#!/bin/sh\n{script}\n")
        (path / name).chmod(0o755)
    command = [str(shutil.which("make")), *arguments]
    return subprocess.run(command, cwd=folder, env={"PATH": str(path)}, capture_output=True, text=True)


def python_that_is(version: tuple[int, ...]) -> str:
    """A script that answers as a Python of that version would."""
    return f"""[ "$1" = --version ] && echo Python {".".join(map(str, version))} && exit
exec {sys.executable} -c "import sys; sys.version_info = {version}; exec(sys.argv[1])" "$2" """


@pytest.mark.parametrize(
    ("programs", "said"),
    [
        ({}, "python3: not found"),
        ({"python3": python_that_is((3, 9, 18))}, "python3: Python 3.9.18"),
        ({"python3": python_that_is((3, 10, 13))}, "python3: Python 3.10.13"),
        ({"python3": python_that_is((3, 14, 0))}, "python3: Python 3.14.0"),
        ({"python3": python_that_is((3, 12, 0)), "uname": "echo Linux aarch64"}, "64-bit Arm Linux"),
    ],
)
def test_make_says_in_one_line_what_the_machine_lacks(tmp_path, programs, said):
    done = make(tmp_path, "test", **programs)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("version", [(3, 11, 7), (3, 13, 0)])
def test_make_takes_a_python_that_fits_and_pytorch_from_where_it_is_told(tmp_path, version):
    index = "TORCH_INDEX=https://example.org/cpu"
    done = make(tmp_path, "--dry-run", "install", index, python3=python_that_is(version))
    first, torch, *_ = done.stdout.splitlines()
    assert first == "python3 -m venv .venv"
    assert re.search(r"--index-url https://example.org/cpu torch==[\d.]+$", torch)


@pytest.mark.parametrize(
    ("given", "listens"),
    [
        ([], ["--ip=0.0.0.0"]),
        (["--ip=127.0.0.1"], ["--ip=127.0.0.1"]),
        (["--ServerApp.ip=127.0.0.1"], ["--ServerApp.ip=127.0.0.1"]),
    ],
)
def test_jupyter_lab_without_a_screen_listens_where_it_is_told(tmp_path, given, listens):
    shutil.copy(ROOT / "jupyter-lab.sh", tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\n[ "$1" = -c ] || printf "%s\\n" "$@"\n')
    python.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": "1"}
    done = subprocess.run([tmp_path / "jupyter-lab.sh", *given], env=environment, capture_output=True, text=True)
    options = done.stdout.splitlines()
    assert [option for option in options if "ip=" in option] == listens
    assert "--no-browser" in options
