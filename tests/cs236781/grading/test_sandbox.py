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


BUBBLEWRAP, NAMESPACES = sandbox.bubblewrap(Path("/")), sandbox.namespaces()
needs_bubblewrap = pytest.mark.skipif(not BUBBLEWRAP, reason="this system has no bubblewrap, or forbids it")
needs_namespaces = pytest.mark.skipif(not NAMESPACES, reason="this system cannot cut the network off")
MODES = [
    pytest.param("bubblewrap", marks=needs_bubblewrap),
    pytest.param("namespaces", marks=needs_namespaces),
    "nothing",
]


@pytest.fixture
def allowed(monkeypatch):
    """What this system can cut off from here on: as much as it allows, or less."""

    def allowed(mode):
        if mode != "bubblewrap":
            monkeypatch.setattr(sandbox, "_bubblewrap", tuple)
        if mode == "nothing":
            monkeypatch.setattr(sandbox, "namespaces", tuple)

    return allowed


@pytest.fixture(params=MODES)
def box(request, tmp_path, allowed):
    """A sandbox, on systems that can cut off more and less."""
    allowed(request.param)
    (tmp_path / "box").mkdir()
    return Sandbox(tmp_path / "box")


@pytest.fixture
def wrapped(tmp_path):
    """A sandbox with bubblewrap."""
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


@pytest.mark.parametrize("mode", MODES[:2])
def test_it_has_no_network(tmp_path, allowed, mode):
    allowed(mode)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = f"import socket; socket.create_connection(('127.0.0.1', {port}), timeout=5)"
        outcome = run(Sandbox(tmp_path), connect)
    assert "OSError: [Errno 101] Network is unreachable" in outcome.output or "ConnectionRefused" in outcome.output


# --- bubblewrap


@needs_bubblewrap
def test_it_sees_no_folder_but_its_own_and_the_systems(wrapped, tmp_path):
    (tmp_path / "other").mkdir()
    python = [Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)]
    homes = [path for path in Path.home().iterdir() if not any(prefix.is_relative_to(path) for prefix in python)]
    hidden = [ROOT / "tests", ROOT / "hw4", tmp_path / "other", Path("/etc/passwd"), *homes]
    outcome = run(wrapped, f"import os; print([path for path in {list(map(str, hidden))} if os.path.exists(path)])")
    assert outcome.output == "[]\n"


@needs_bubblewrap
def test_it_writes_into_its_own_folder_only(wrapped):
    program = """
        import sys
        for folder in (".", "/tmp", "/usr", sys.prefix, sys.base_prefix + "/lib"):
            try:
                open(folder + "/written", "w").close()
                print("yes")
            except OSError:
                print("no")
        """
    assert run(wrapped, program).output.split() == ["yes", "yes", "no", "no", "no"]
    assert (wrapped.folder / "written").exists()
    assert not Path("/tmp/written").exists()


@needs_bubblewrap
def test_it_reaches_no_socket_among_files(wrapped, tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        program = f"import socket; socket.socket(socket.AF_UNIX).connect({str(tmp_path / 'socket')!r})"
        outcome = run(wrapped, program)
    assert "FileNotFoundError" in outcome.output


@needs_bubblewrap
def test_it_sees_no_other_process(wrapped):
    outcome = run(wrapped, "import os; print(all(int(name) < 50 for name in os.listdir('/proc') if name.isdigit()))")
    assert outcome.output == "True\n"


@needs_bubblewrap
def test_its_links_lead_nowhere(wrapped, tmp_path):
    (tmp_path / "secret").write_text("x")
    (wrapped.folder / "link").symlink_to(tmp_path / "secret")
    assert "FileNotFoundError" in run(wrapped, "open('link').read()").output


# --- messages

ECHO = """
import json, os, sys
source, target = os.fdopen(int(sys.argv[1])), os.fdopen(int(sys.argv[2]), "w")
for line in source:
    print(line, end="", file=target, flush=True)
"""


def talk(box, program, **options):
    return box.talk_to([sys.executable, "-c", textwrap.dedent(program)], ENOUGH, **options)


def test_messages_come_back(box):
    messages = [{"a": [1, 2.5, None]}, "שלום\n", "x" * 300_000]
    with talk(box, ECHO) as server:
        for message in messages:
            server.send(message)
            assert server.receive(60) == message


def test_several_messages_at_once_come_one_by_one(box):
    with talk(box, "import os, sys; os.write(int(sys.argv[2]), b'1\\n2\\n3\\n'); input()") as server:
        assert [server.receive(60) for _ in range(3)] == [1, 2, 3]


def test_what_is_no_message_is_passed_over(box):
    lines = "[" * 100_000 + r"\nnonsense\n\xff\n" + "1" * 5000 + r"\n7\n"
    program = f"import os, sys; os.write(int(sys.argv[2]), b'{lines}')"
    with talk(box, program) as server:
        assert server.receive(60) == 7


def test_no_message_in_time(box):
    with talk(box, "import time; time.sleep(600)") as server, pytest.raises(TimeoutError):
        server.receive(0.2)


def test_the_end_of_the_program(box):
    with talk(box, "pass") as server, pytest.raises(EOFError):
        server.receive(60)


def test_a_program_that_has_ended_takes_no_message(box):
    with talk(box, "pass") as server:
        with suppress(EOFError):
            server.receive(60)
        wait_until(lambda: server._process.poll() is not None)
        with pytest.raises(BrokenPipeError):
            server.send(1)


def test_a_line_without_end(box):
    program = "import os, sys\nwhile True: os.write(int(sys.argv[2]), b'x' * 60000)"
    with talk(box, program) as server, pytest.raises(EOFError):
        server.receive(60)


def test_what_was_talked_to_ends_with_the_block(box, mark):
    program = f"""
        import os, subprocess, sys, time
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "{mark}"], start_new_session=True)
        os.write(int(sys.argv[2]), b"1\\n")
        time.sleep(600)
        """
    with talk(box, program) as server:
        server.receive(60)
    assert not is_running(mark)


def test_cancelling_ends_a_talk(tmp_path):
    cancelled = threading.Event()
    with talk(Sandbox(tmp_path, cancelled), "import time; time.sleep(600)") as server:
        cancelled.set()
        with pytest.raises(CancelledError):
            server.receive(60)


def test_no_descriptor_is_left_open(box):
    before = len(list(Path("/dev/fd").iterdir()))
    with talk(box, "pass"):
        pass
    assert len(list(Path("/dev/fd").iterdir())) == before


# --- its end


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


def test_a_system_without_unshare_and_bubblewrap(monkeypatch):
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    assert sandbox.namespaces.__wrapped__() == ()
    assert sandbox._bubblewrap.__wrapped__() == ()
