"""Faults put in on purpose: kills, signals, full disks, two at once, damaged files, and a long run.

    python -m benchmarks.faults [--share X] [--seed N] [--only FAULT...] [--out FILE]

Each trial is a short training in a folder of its own, which something happens to. Then the same command is given again,
and has to end with what an undisturbed run ends with. Counted for each kind of fault are the trials, those that ended
well, and what went wrong: `lost` (something whole is gone, or the second run ends otherwise), `hung`, `crashed` (a
traceback, or a signal of its own), `read` (a damaged file was taken for a whole one). The same seed makes the same
faults; at what moment of a run a signal arrives depends on the machine's pace. There are as many trials at a time as
processors. `--share 0.01` does a hundredth, and at least one of each kind.
"""

import argparse
import collections
import importlib.util
import os
import pickle
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate

from cs236781.files import write_whole
from hw4.files import load_checkpoint, load_training_data
from hw4.rollout.loader import available_cpus

ROOT = Path(__file__).parents[1]
# As main.py, but the latest state is saved more often, so that short runs have it.
PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); import sys, main; from hw4 import runs; "
    "runs.SAVE_SECONDS = 0.1; sys.exit(main.main(sys.argv[1:]))"
)
TRAIN = "train aac --seed 5 --episodes 80 --set hidden_layers=[8] --set batch_size=2 --out r.dat --checkpoint c.dat"
SWEEP = "sweep vpg --seeds 3 --episodes 10 --jobs 1 --out s.json"
HUNG = 120  # seconds
STOPS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
Outcome = str


def start(folder: Path, arguments: str, prefix: str = "", **environment: str) -> subprocess.Popen:
    """Start a command in a folder and a session of its own; its output goes to the files `out` and `err`."""
    command = f"exec {shlex.quote(sys.executable)} -c {shlex.quote(PROGRAM)} {arguments}"
    with (folder / "out").open("a") as out, (folder / "err").open("a") as err:
        return subprocess.Popen(
            ["bash", "-c", f"{prefix} {command}"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
            stdout=out,
            stderr=err,
            start_new_session=True,
        )


def end(process: subprocess.Popen, folder: Path) -> Outcome | None:
    """Wait for a command's end; what went wrong, if something did."""
    try:
        process.wait(HUNG)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return "hung"
    return "crashed" if "Traceback" in (folder / "err").read_text(errors="replace") else None


def again(folder: Path, expected: dict, arguments: str = f"{TRAIN} --num-workers 0") -> Outcome:
    """Give the command again, as often as it takes, and compare."""
    for file in folder.glob("*.dat"):
        try:
            (load_training_data if file.name.startswith("r") else load_checkpoint)(file)
        except ValueError:
            return "lost"
    process = start(folder, arguments)
    if problem := end(process, folder):
        return problem
    return "well" if process.returncode == 0 and equal(folder, expected) else "lost"


def equal(folder: Path, expected: dict) -> bool:
    """Whether a folder's results are those of an undisturbed run."""
    found = pickle.loads((folder / "r.dat").read_bytes())["aac"]
    states = found.pop("model_state"), expected["model_state"]
    same = all(torch.equal(states[0][name], value) for name, value in states[1].items())
    return same and found == {name: value for name, value in expected.items() if name != "model_state"}


def killed(folder: Path, rng: random.Random, expected: dict, seconds: float, number: int) -> Outcome:
    """SIGKILL at any moment; of every second run, after its first checkpoint."""
    process = start(folder, f"{TRAIN} --num-workers {rng.choice([0, 2])}")
    deadline = time.monotonic() + HUNG
    while number % 2 and not (folder / "c.dat").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(rng.uniform(0, seconds / (4 if number % 2 else 1)))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return again(folder, expected)


def stopped(folder: Path, rng: random.Random, expected: dict, seconds: float, number: int) -> Outcome:
    """A signal, once or twice, to the process or its group, with workers; nohup and the background ignore some."""
    sent, to_all = STOPS[number % 3], rng.random() < 0.5
    process = start(folder, f"{TRAIN} --num-workers 2", rng.choice(["", "trap '' INT;"]) if sent != STOPS[0] else "")
    time.sleep(rng.uniform(0.3, 1.0) * seconds)
    for _ in range(rng.choice([1, 2])):
        if process.poll() is None:
            (os.killpg if to_all else os.kill)(process.pid, sent)
    if problem := end(process, folder):
        return problem
    if process.returncode not in (0, 128 + sent, -sent):  # minus: before Python had begun to handle it
        return "crashed"
    return again(folder, expected)


def two_at_once(folder: Path, rng: random.Random, expected: dict, seconds: float, number: int) -> Outcome:
    """The second of two trainings on one file, or of two sweeps, is refused, and the first unharmed."""
    arguments = SWEEP if number % 2 else f"{TRAIN} --num-workers 0"
    both = [start(folder, arguments), start(folder, arguments)]
    problems = [end(process, folder) for process in both]
    if any(problems):
        return next(filter(None, problems))
    if sorted(process.returncode for process in both) not in ([0, 2], [0, 0]):
        return "lost"
    return "well" if (folder / "s.json").exists() else again(folder, expected)


def file_size(folder: Path, rng: random.Random, expected: dict, seconds: float, number: int) -> Outcome:
    """Files cannot grow beyond some size, as on a full disk: what can be written is."""
    limit = rng.choice([4, 12, 24])  # KiB
    process = start(folder, f"{TRAIN} --num-workers 0", f"ulimit -f {limit};")
    return end(process, folder) or again(folder, expected)


def memory(folder: Path, rng: random.Random, expected: dict, seconds: float, number: int) -> Outcome:
    """Not enough memory to start, or hardly enough."""
    process = start(folder, f"{TRAIN} --num-workers 2", f"ulimit -v {rng.choice([2000, 4000, 6000]) * 1024};")
    end(process, folder)  # a traceback may come from anywhere, the interpreter's start too
    (folder / "err").unlink()
    return again(folder, expected)


def descriptors(folder: Path, rng: random.Random, expected: dict, seconds: float, number: int) -> Outcome:
    """64 open files at most."""
    process = start(folder, f"{TRAIN} --num-workers 2", "ulimit -n 64;")
    return end(process, folder) or again(folder, expected)


def folder_gone(folder: Path, rng: random.Random, expected: dict, seconds: float, number: int) -> Outcome:
    """The results' folder is removed in mid-run: it is made again."""
    arguments = f"{TRAIN} --num-workers 0".replace("r.dat", "new/r.dat").replace("c.dat", "new/c.dat")
    process = start(folder, arguments)
    while not (folder / "new" / "c.dat").exists() and process.poll() is None:
        time.sleep(0.01)
    shutil.rmtree(folder / "new", ignore_errors=True)
    if problem := end(process, folder):
        return problem
    return "well" if process.returncode == 0 and equal(folder / "new", expected) else "lost"


def linked(folder: Path, rng: random.Random, expected: dict, seconds: float, number: int) -> Outcome:
    """The results are at a symbolic link, which stays one."""
    (folder / "far").mkdir()
    (folder / "r.dat").symlink_to("far/r.dat")
    process = start(folder, f"{TRAIN} --num-workers 0")
    if problem := end(process, folder):
        return problem
    return again(folder, expected) if (folder / "r.dat").is_symlink() and (folder / "far/r.dat").exists() else "lost"


def streams(folder: Path, rng: random.Random, expected: dict, seconds: float, number: int) -> Outcome:
    """Standard output and error are closed, full, or unable to show a letter."""
    where = rng.choice([">&-", "2>&-", ">/dev/full", "2>/dev/full", ">&- 2>&-"])
    process = start(folder, f"{TRAIN} --num-workers 0 {where}", PYTHONIOENCODING=rng.choice(["ascii", "utf-8"]))
    if problem := end(process, folder):
        return problem
    return "well" if equal(folder, expected) else "lost"


def flipped_bits(count: int, folder: Path, rng: random.Random) -> collections.Counter[Outcome]:
    """A single bit of a results file or a checkpoint is another: it is refused."""
    found: collections.Counter[Outcome] = collections.Counter()
    whole = {name: (folder / name).read_bytes() for name in ("r.dat", "c.dat")}
    for number in range(count):
        name = ("r.dat", "c.dat")[number % 2]
        content = bytearray(whole[name])
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        (folder / "flipped.dat").write_bytes(content)
        try:
            (load_checkpoint if number % 2 else load_training_data)(folder / "flipped.dat")
            found["read"] += 1
        except ValueError:
            found["well"] += 1
    return found


def fuzzed(count: int, seed: int) -> collections.Counter[Outcome]:
    """Files of all kinds that are read, damaged by a fuzzer: see `benchmarks.fuzz_files`."""
    command = [sys.executable, "-m", "benchmarks.fuzz_files", str(count), str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    outcomes: collections.Counter[Outcome] = collections.Counter()
    for line in done.stdout.splitlines()[1:]:
        number, what = line.split(" ", 1)
        if what not in ("read", "refused"):
            print(what, flush=True)
        outcomes["well" if what in ("read", "refused") else "crashed"] += int(number)
    if outcomes["well"] != count and not outcomes["crashed"]:
        print(done.stderr[-1000:], flush=True)
        outcomes["crashed"] += 1
    return outcomes


def damaged(share: float, seed: int, folder: Path) -> Iterator[dict[str, object]]:
    """The rows of damaged files; the whole ones are in the folder."""
    yield row("A single bit is another.", flipped_bits(round(share * 10_000), folder, random.Random(seed)))
    if importlib.util.find_spec("atheris") is None:
        print("no files are fuzzed: Atheris, which does it, is not installed, or not made for this machine")
        return
    with ThreadPoolExecutor(2) as pool:
        halves = pool.map(fuzzed, [round(share * 50_000)] * 2, [2 * seed, 2 * seed + 1])
        found = sum(halves, collections.Counter())
    yield row("A file that a fuzzer made, guided by coverage, is read as data or refused.", found)


def soak(episodes: int, folder: Path) -> Iterator[str]:
    """A long run with two workers, at a policy that does not change: its memory and its speed, from first to last.

    A shared machine's pace changes in that time. So a fixed computation is timed in turns with the run, and the speed
    is given beside its speed, too.
    """
    script = f"""
import time, psutil
from hw4.experiments import hyperparams_of, train_config
hp = hyperparams_of("aac", ["learn_rate=1e-12", "learn_rate_end=0", "batch_size=8", "beta_end=0"])
def look(batch_idx, p_net, batch, final):
    if (batch_idx + 1) % {max(1, episodes // 160)} == 0:
        me = psutil.Process()
        sizes = [p.memory_info().rss / 2**20 for p in (me, *me.children())]
        time.sleep(0.1)  # until the workers sleep
        paces = []
        for _ in range(5):
            began = time.perf_counter()
            sum(range(2 * 10**5))
            paces.append(time.perf_counter() - began)
        print(began, sum(paces) / 5, steps[0], *sizes, flush=True)
    steps[0] += len(batch)
steps = [0]
train_config("aac", hp=hp, seed=1, num_workers=2, max_episodes={episodes}, post_batch_fn=look)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True)
    rows = np.array([list(map(float, line.split())) for line in done.stdout.splitlines() if line[:1].isdigit()])
    rates = np.diff(rows[:, 2]) / np.diff(rows[:, 0])
    tenth = max(1, len(rates) // 10)
    speed, beside = (x[-tenth:].mean() / x[:tenth].mean() for x in (rates, rates * rows[1:, 1]))
    yield f"{episodes} episodes: the last tenth at {speed:.2f} of the first tenth's speed,"
    yield f"and at {beside:.2f} of it beside a fixed computation's speed, timed in turns"
    begun = rows[max(1, len(rows) // 20), 3:]
    growth = (rows[-1, 3:] / begun - 1) * 100
    yield f"memory since a twentieth of it: learner {growth[0]:+.1f}%, workers {growth[1:].max():+.1f}% at most"


def put_in(
    place: Path, seed: int, expected: dict, seconds: float, kind: Callable[..., Outcome], number: int
) -> Outcome:
    """One trial of a fault, in a folder of its own; what went wrong is printed."""
    folder = place / f"{kind.__name__}{number}"
    folder.mkdir()
    outcome = kind(folder, random.Random(f"{seed} {kind.__name__} {number}"), expected, seconds, number)
    if outcome != "well":
        print(folder.name, outcome, (folder / "err").read_text(errors="replace")[-400:], sep="\n", flush=True)
    shutil.rmtree(folder)
    return outcome


def main() -> None:
    """Put the faults in, and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, metavar="X", help="do this fraction of the trials")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="FAULT", help="put in these alone: the names of their functions")
    parser.add_argument("--out", type=Path, help="write what is printed to this file, too")
    arguments = parser.parse_args()
    share = arguments.share
    kinds: dict[Callable[..., Outcome], int] = {killed: 100, stopped: 100, two_at_once: 20}
    kinds |= dict.fromkeys((file_size, memory, descriptors, folder_gone, linked, streams), 10)
    kinds = {
        kind: max(1, round(share * number))
        for kind, number in kinds.items()
        if not arguments.only or kind.__name__ in arguments.only
    }
    rows = []
    with tempfile.TemporaryDirectory() as place:
        undisturbed = Path(place, "undisturbed")
        undisturbed.mkdir()
        began = time.monotonic()
        end(start(undisturbed, f"{TRAIN} --num-workers 0"), undisturbed)
        seconds = time.monotonic() - began
        expected = pickle.loads((undisturbed / "r.dat").read_bytes())["aac"]
        with ThreadPoolExecutor(available_cpus()) as pool:
            put = partial(put_in, Path(place), arguments.seed, expected, seconds)
            trials = {kind: [pool.submit(put, kind, n) for n in range(number)] for kind, number in kinds.items()}
            for kind, outcomes in trials.items():
                found = collections.Counter(outcome.result() for outcome in outcomes)
                rows.append(row((kind.__doc__ or "").splitlines()[0], found))
                print(rows[-1], flush=True)
        rows += [] if arguments.only else damaged(share, arguments.seed, undisturbed)
        lines = [tabulate(rows, headers="keys", tablefmt="github")]
        if share > 0.05 and "soak" in (arguments.only or ["soak"]):
            lines += soak(round(share * 100_000), undisturbed)
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out is not None:
        write_whole(arguments.out, text.encode())
    sys.exit(any(row[name] for row in rows for name in ("lost", "hung", "crashed", "read")))


def row(what: str, found: collections.Counter[Outcome]) -> dict[str, object]:
    """A row of the table."""
    kinds = ("well", "lost", "hung", "crashed", "read")
    return {"fault": what, "trials": found.total(), **{name: found[name] for name in kinds}}


if __name__ == "__main__":
    main()
