import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from cs236781.grading import sandbox
from cs236781.grading.sandbox import CancelledError, Limits, Sandbox, scratch_folder

ROOT = Path(__file__).resolve().parents[3]
ENOUGH = Limits(seconds=60, megabytes=500)


@pytest.fixture(params=["as the system allows", "without namespaces"])
def box(request, tmp_path, monkeypatch):
    """A sandbox, with what this system can cut off, and as on a system that can cut nothing off."""
    if request.param == "without namespaces":
        monkeypatch.setattr(sandbox, "namespaces", tuple)
    (tmp_path / "box").mkdir()
    return Sandbox(tmp_path / "box")


def run(box, program, limits=ENOUGH, **options):
    return box.run([sys.executable, "-c", textwrap.dedent(program)], limits, **options)


def is_running(mark):
    """Whether a process has this text in its command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if mark.encode() in path.read_bytes():
                return True
    return False


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def mark():
    return f"mark-{os.getpid()}-{time.monotonic_ns()}"


@pytest.mark.parametrize(
    ("program", "status", "output"),
    [
        (
            "import sys; print('said'); sys.stdout.flush(); print('warned', file=sys.stderr); sys.exit(3)",
            3,
            "said\nwarned\n",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV, ""),
        ("x = bytearray(200_000_000)", 0, ""),
        ("x = bytearray(600_000_000)", 1, "MemoryError"),
        ("open('large', 'wb').write(bytes(51 << 20))", 1, "File too large"),
        ("import os; print(os.environ['GIVEN'])", 0, "this\n"),
    ],
)
def test_a_program_that_ends(box, program, status, output):
    outcome = run(box, program, environment={"GIVEN": "this"})
    assert (outcome.timed_out, outcome.status) == (False, status)
    assert output in outcome.output


def test_a_program_that_computes_without_end(box, monkeypatch):
    monkeypatch.setattr(sandbox, "_PATIENCE", 1000)
    assert run(box, "while True: pass", Limits(seconds=1, megabytes=500)).timed_out


def test_a_program_that_waits_without_end(box):
    assert run(box, "import time; time.sleep(600)", Limits(seconds=0.2, megabytes=500)).timed_out


def test_output_without_end(box, monkeypatch):
    monkeypatch.setattr(sandbox, "MAX_FILE_MEGABYTES", 1)
    outcome = run(box, "while True: print('x' * 1000)")
    assert not outcome.timed_out
    assert outcome.status != 0
    assert len(outcome.output) <= 5000


@pytest.mark.parametrize(("sleep", "limits"), [(0, ENOUGH), (600, Limits(seconds=1, megabytes=500))])
def test_what_it_started_ends_with_it_or_with_its_time(box, mark, sleep, limits):
    program = f"""
        import subprocess, sys, time
        command = [sys.executable, "-c", "import time; time.sleep(600)", "{mark}"]
        for session in (False, True):
            subprocess.Popen(command, start_new_session=session)
        time.sleep({sleep})
        """
    assert run(box, program, limits).timed_out is (sleep > 0)
    assert not is_running(mark)


def test_it_gets_none_of_the_callers_variables(box, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("HOME", "/the/callers/home")
    outcome = run(box, "import os, tempfile; print(*os.environ, os.environ['HOME'], tempfile.gettempdir())")
    *names, home, temporary = outcome.output.split()
    assert "SECRET_TOKEN" not in names
    assert Path(home).is_relative_to(box.folder)
    assert Path(temporary).is_relative_to(box.folder)


@pytest.mark.skipif(not sandbox.namespaces(), reason="this system cannot cut the network off")
def test_it_has_no_network(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = f"import socket; socket.create_connection(('127.0.0.1', {port}), timeout=5)"
        outcome = run(Sandbox(tmp_path), connect)
    assert "OSError: [Errno 101] Network is unreachable" in outcome.output or "ConnectionRefused" in outcome.output


def test_cancelling_ends_it(tmp_path, mark):
    cancelled = threading.Event()
    threading.Timer(0.5, cancelled.set).start()
    with pytest.raises(CancelledError):
        run(Sandbox(tmp_path, cancelled), f"import time; time.sleep(600)  # {mark}")
    assert not is_running(mark)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_its_caller(tmp_path, number, mark):
    caller = f"""
        import sys
        from cs236781.grading.sandbox import Limits, Sandbox
        program = "import time; open('started', 'w'); time.sleep(600)  # {mark}"
        Sandbox({str(tmp_path)!r}).run([sys.executable, "-c", program], Limits(seconds=60, megabytes=500))
        """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(caller)], cwd=ROOT) as process:
        wait_until((tmp_path / "started").exists)
        process.send_signal(number)
    wait_until(lambda: not is_running(mark))


def test_folders_nested_deeper_than_python_can_remove(box):
    """A thousand would be too many for shutil.rmtree."""
    with scratch_folder() as folder:
        outcome = run(
            Sandbox(folder),
            """
            import os
            for _ in range(1500):
                os.mkdir("d")
                os.chdir("d")
            """,
        )
        assert outcome.status == 0
    assert not folder.exists()


def test_a_removed_folder_takes_nothing_along_that_it_links_to(tmp_path):
    (tmp_path / "mine").mkdir(mode=0o500)
    (tmp_path / "mine" / "file").touch(mode=0o400)
    with scratch_folder() as folder:
        (folder / "closed").mkdir()
        for name in ("mine", "mine/file"):
            (folder / "closed" / Path(name).name).symlink_to(tmp_path / name)
        (folder / "closed").chmod(0)
    assert not folder.exists()
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "mine", tmp_path / "mine" / "file")]
    assert modes == [0o500, 0o400]


def test_a_system_without_unshare(monkeypatch):
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    assert sandbox.namespaces.__wrapped__() == ()
