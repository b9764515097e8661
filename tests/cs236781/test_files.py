"""Files written whole, locks, and JSON."""

import contextlib
import ctypes
import errno
import json
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs236781 import files
from cs236781.files import (
    check_file_writable,
    check_folder_writable,
    lock,
    lock_outputs,
    read_json,
    read_whole,
    write_json,
    write_whole,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


# --- written whole


def test_a_file_is_replaced_whole_and_keeps_its_mode(path):
    path.write_bytes(b"old")
    path.chmod(0o640)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [*path.parent.iterdir()] == [path]


def test_a_failed_write_leaves_the_old_file_alone(path, monkeypatch):
    def fail(self, target):
        raise OSError("disk full")

    path.write_bytes(b"old")
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [*path.parent.iterdir()] == [path]


def test_a_file_is_no_folder(path):
    path.touch()
    with pytest.raises(NotADirectoryError, match="is a file"):
        check_folder_writable(path)


@pytest.mark.parametrize("name", ["x" * 255, "\N{HEBREW LETTER ALEF}" * 127])
def test_names_as_long_as_they_can_be(name, tmp_path):
    with lock(tmp_path / name):
        write_whole(tmp_path / name, b"new")
    assert (tmp_path / name).read_bytes() == b"new"
    assert [*tmp_path.iterdir()] == [tmp_path / name]


def write_nothing(path):
    write_whole(path, b"")


def lock_for_a_moment(path):
    with lock(path):
        pass


@pytest.mark.parametrize("place", ["x" * 256, "missing/" + "x" * 256, "x" * 256 + "/name", "x" + "/y" * 2100])
@pytest.mark.parametrize("use", [check_file_writable, write_nothing, lock_for_a_moment])
def test_names_that_are_too_long(place, use, tmp_path):
    with pytest.raises(OSError, match=r"\Aa name is too long: [^\n]{1,300}\Z"):
        use(tmp_path / place)
    assert [*tmp_path.iterdir()] == []


def test_a_link_is_followed(tmp_path):
    (tmp_path / "store").mkdir()
    link, linked = tmp_path / "link", tmp_path / "store" / "file"
    link.symlink_to(linked)
    for data in (b"first", b"second"):
        write_whole(link, data)
        assert link.is_symlink()
        assert linked.read_bytes() == data
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "link", "store"]


def test_links_in_a_ring(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="not an ordinary file"):
        write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").is_symlink()


def test_a_pipe_is_not_replaced(path):
    os.mkfifo(path)
    with pytest.raises(OSError, match="not an ordinary file"):
        check_file_writable(path)
    with pytest.raises(ValueError, match="not a file"):
        read_whole(path, 10)


def test_a_new_file_has_the_mode_of_any_other(path):
    write_whole(path, b"new")
    path.with_name("other").touch()
    assert path.stat().st_mode == path.with_name("other").stat().st_mode


def name_of(handle):
    return Path(f"/proc/self/fd/{handle}").resolve()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_it_is_flushed_before_it_is_moved_and_its_folders_too(path, monkeypatch):
    done, replace = [], Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: done.append(name_of(handle)))
    monkeypatch.setattr(Path, "replace", lambda *paths: done.append("moved") or replace(*paths))
    write_whole(path.parent / "made" / "file", b"new")
    above, temporary, *later = done
    assert above == path.parent
    assert temporary.parent == path.parent / "made"
    assert temporary.name.startswith(".")
    assert later == ["moved", path.parent / "made"]


def refuse(number):
    raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EACCES])
def test_a_file_system_that_does_not_flush_folders(number, path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: refuse(number) if name_of(handle).is_dir() else None)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"


def run(code, *arguments, limit=None, **kwargs):
    """What a process says that runs code."""
    code = "import sys\nfrom cs236781.files import *\n" + code
    limits = None if limit is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdin=-1, stdout=-1, stderr=-1, preexec_fn=limits, **kwargs)


WRITE = """
try:
    write_whole(sys.argv[1], bytes(200_000))
except OSError as error:
    print(error)
"""


def test_a_full_disk_keeps_the_old_file(path):
    path.write_bytes(b"old")
    said, errors = run(WRITE, path, limit=100_000).communicate()
    assert (said, errors) == (f"cannot write {path} (File too large)\n", "")
    assert path.read_bytes() == b"old"
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.skipif(os.geteuid() != 0 or not sys.platform.startswith("linux"), reason="only root mounts file systems")
def test_a_disk_that_is_really_full(tmp_path):
    libc, path = ctypes.CDLL(None, use_errno=True), tmp_path / "file"
    if libc.mount(b"none", os.fsencode(tmp_path), b"tmpfs", 0, b"size=64k"):
        pytest.skip("mounting is not allowed here")
    try:
        path.write_bytes(b"old")
        with pytest.raises(OSError, match=r"\Acannot write \S+/file \(No space left on device\)\Z"):
            write_whole(path, bytes(200_000))
        assert path.read_bytes() == b"old"
        assert [*tmp_path.iterdir()] == [path]
    finally:
        libc.umount(os.fsencode(tmp_path))


def test_ctrl_c_while_it_writes(path, monkeypatch):
    path.write_bytes(b"old")

    def interrupt(handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [*path.parent.iterdir()] == [path]


# --- locks

HOLD = """
with lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""
TRY = """
try:
    with lock(sys.argv[1]):
        print("free")
except BlockingIOError as error:
    print(error)
"""


@contextlib.contextmanager
def holder(path, code=HOLD):
    process = run(code, path)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def attempt(path):
    return run(TRY, path).communicate()[0].strip()


def test_the_second_process_names_the_first(path):
    with holder(path) as process:
        assert attempt(path).startswith(f"{path} is being written by process {process.pid} on ")
        path.with_name("link").symlink_to(path)
        assert f"process {process.pid}" in attempt(path.with_name("link"))
        assert attempt(path.with_name("other")) == "free"
        process.communicate("")
        path.with_name("link").unlink()
        assert [*path.parent.iterdir()] == []
    assert attempt(path) == "free"


HOLD_WITH_A_WORKER = """
import os, time
with lock(sys.argv[1]):
    if os.fork() == 0:
        os.close(1), os.close(2)
        time.sleep(20)
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_killed_holder_does_not_block_though_its_workers_live(path):
    with holder(path, HOLD_WITH_A_WORKER) as process:
        process.kill()
        process.wait()
        assert attempt(path) == "free"
    assert [*path.parent.iterdir()] == []


def test_one_of_many_gets_it(path):
    """Each takes the lock, and removes the lock's file, a hundred times; a counter that all raise loses nothing."""
    path.write_text("0")
    code = """
import pathlib, time
path, done = pathlib.Path(sys.argv[1]), 0
while done < 100:
    try:
        with lock(path):
            write_whole(path, str(int(path.read_text()) + 1).encode())
            done += 1
    except BlockingIOError:
        time.sleep(0.0005)
"""
    for process in [run(code, path) for _ in range(3)]:
        assert process.communicate() == ("", "")
    assert path.read_text() == "300"
    assert [*path.parent.iterdir()] == [path]


def test_this_process_does_not_lock_twice(path):
    with lock(path):
        with pytest.raises(BlockingIOError, match="by this process already"), lock(path):
            pass
        assert "is being written by process" in attempt(path)
    with lock(path):
        pass


def test_threads_do_not_share_a_lock(path):
    outcomes, barrier = [], threading.Barrier(4)

    def work():
        barrier.wait()
        try:
            with lock(path):
                outcomes.append("held")
                barrier.wait()
        except BlockingIOError:
            outcomes.append("refused")
            barrier.wait()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["held", *["refused"] * 3]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(number, path, monkeypatch):
    monkeypatch.setattr(files.fcntl, "lockf", lambda *arguments: refuse(number))
    with lock(path):
        write_whole(path, b"new")
    assert [*path.parent.iterdir()] == [path]


def test_outputs_are_locked_together(path):
    other = path.with_name("other")
    with holder(other) as process:
        with (
            pytest.raises(BlockingIOError, match=f"other is being written by process {process.pid}"),
            lock_outputs(path, other),
        ):
            pass
        assert attempt(path) == "free"
    with lock_outputs(path, other):
        assert "being written" in attempt(path)
        assert "being written" in attempt(other)


def test_one_file_for_two_outputs(path):
    path.with_name("link").symlink_to(path)
    with pytest.raises(ValueError, match="link is named for two outputs"), lock_outputs(path, path.with_name("link")):
        pass


# --- JSON

SCHEMA = {
    "type": "object",
    "required": ["runs"],
    "properties": {
        "runs": {
            "type": "array",
            "items": {"type": "object", "required": ["seed"], "properties": {"seed": {"type": "integer"}}},
        }
    },
}
BAD_JSON = {
    "deep": ("[" * 100_000, "too deep"),
    "deep and whole": ('{"runs": [], "x": ' + "[" * 60 + "]" * 60 + "}", "more than 50 levels"),
    "cut short": ('{"runs": [', "Expecting value"),
    "of another kind": ("[]", "data must be object"),
    "without a field": ("{}", r"data must contain \['runs'\] properties"),
    "with a field of another kind": (
        '{"runs": [{"seed": 1}, {"seed": "x"}]}',
        r"data\.runs\[1\]\.seed must be integer",
    ),
    "NaN": ('{"runs": [{"seed": NaN}]}', "NaN, which is not a finite number"),
    "infinite": ('{"runs": [{"seed": 1e999}]}', "1e999, which is not a finite number"),
    "a number of many digits": ('{"runs": [{"seed": ' + "1" * 5000 + "}]}", "digits"),
    "not UTF-8": (b"\xff\xff", "decode"),
    "empty": ("", "Expecting value"),
}


@pytest.mark.parametrize(("text", "message"), BAD_JSON.values(), ids=BAD_JSON)
def test_json_that_is_refused(text, message, path):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=rf"\A{path} is damaged, or of another kind: [^\n]*{message}[^\n]*\Z"):
        read_json(path, SCHEMA)


def test_json_that_is_missing_or_too_large(path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_json(path, SCHEMA)
    write_json(path, {"runs": []}, SCHEMA)
    monkeypatch.setattr(files, "MAX_JSON_SIZE", 5)
    with pytest.raises(ValueError, match="larger than"):
        read_json(path, SCHEMA)


@pytest.mark.parametrize("data", [{}, {"runs": [{"seed": 1.5}]}, {"runs": [], "x": float("nan")}])
def test_json_that_is_not_written(data, path):
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=f"{path}"):
        write_json(path, data, SCHEMA)
    assert path.read_bytes() == b"old"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(values)
def test_all_json_that_is_written_comes_back(tmp_path_factory, value):
    path, data = tmp_path_factory.getbasetemp() / "value.json", {"runs": [{"seed": 1, "x": value}]}
    write_json(path, data, SCHEMA)
    assert read_json(path, SCHEMA) == data == json.loads(path.read_bytes())
