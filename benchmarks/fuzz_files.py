"""Damage files of every kind that is read, and read them: each is to be taken as data, or refused in one line.

    make fuzz FILES=100000        (or: python -m benchmarks.fuzz_files [FILES [SEED]])

Atheris, a fuzzer that is guided by coverage, changes whole files and crafted ones, and keeps what reaches lines that no
file before has reached. Checksums would end each trial at once: files have none, or one that is right. All outcomes are
counted. A file that ends the program, or is read for longer than `HUNG` seconds, is left in the folder for temporary
files, as crash-... or timeout-.... The same seed makes the same files.
"""

import collections
import io
import json
import os
import pickle
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

try:
    import atheris
except ImportError:
    sys.exit("files are fuzzed by Atheris, which has no package for this machine or is not installed yet: make fuzz")
import nbformat.v4
import numpy as np
import torch

with atheris.instrument_imports(include=["hw4", "cs236781", "pickletools", "zipfile"]):
    from cs236781.files import packed, read_json
    from cs236781.notebook_files import NotebookError, read_notebook
    from cs236781.unpacking import ArchiveError, unpack
    from hw4 import files
    from hw4.experiments import hyperparams_of, train_config
    from hw4.study.sweep import RUNS

ROOT = Path(__file__).parents[1]
HUNG = 60  # seconds
MEMORY = 4 << 30  # bytes
# What pickles, archives, JSON files and paths are made of, and numbers at the edges of what fits.
WORDS = [b"cposix\nsystem\n", b"(", b"R", b"b", b"\x94", b"PK\1\2", b"PK\5\6", b"1e999", b"[[[[", b"../"]
WORDS += [(2**bits - 1).to_bytes(8, "little") for bits in (15, 31, 32, 63, 64)]


class Reader(NamedTuple):
    """What reads one kind of file, how it refuses one, and whole files of the kind."""

    read: Callable[[Path], object]
    refusal: type[Exception]
    examples: list[bytes]
    wrap: Callable[[bytes], bytes] = bytes  # makes the file of what is changed


def readers(folder: Path) -> Iterator[Reader]:
    """All readers of files that may come from strangers, with examples from a training of 16 episodes."""
    hp = hyperparams_of("aac", ["hidden_layers=[4]"])
    results, saved = folder / "results.dat", folder / "saved.dat"
    training_data = train_config("aac", hp=hp, seed=1, max_episodes=16, num_workers=0, latest_file=saved)
    files.dump_training_data({"aac": training_data}, results)
    data = {name: value[:3] if isinstance(value, list) else value for name, value in training_data.items()}
    odd = [np.arange(3), np.float64(1), Path("x"), os.system, torch.zeros(3, dtype=torch.bool), {1, 2}, 1j, [[[]]] * 9]
    pickles = [pickle.dumps(value, protocol) for value in ({"aac": data}, *odd) for protocol in (0, 2, 4)]
    yield Reader(files.load_training_data, ValueError, pickles)

    checkpoint = files.load_checkpoint(saved)
    yield Reader(files.load_checkpoint, ValueError, [archived(checkpoint)])
    for value in (torch.zeros(3).to_sparse(), torch.zeros(3, 2).T, torch.nn.Linear(1, 1)):
        with zipfile.ZipFile(io.BytesIO(archived({**checkpoint, "params": {"a": value}}))) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        [name] = (name for name in members if name.endswith("/data.pkl"))
        yield Reader(
            files.load_checkpoint,
            ValueError,
            [members[name]],
            lambda changed, members=members, name=name: zipped({**members, name: changed}),
        )

    records = json.loads((ROOT / "results" / "tuning.json").read_text())["runs"][:2]
    curves = {name: values[:2] for name, values in records[0]["curves"].items()}
    text = json.dumps({"runs": [{**record, "curves": curves} for record in records]})
    yield Reader(lambda path: read_json(path, RUNS), ValueError, [text.encode()])

    cells = [nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("stream", text="2")])]
    notebook = nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_markdown_cell("three")])
    yield Reader(read_notebook, NotebookError, [nbformat.writes(notebook).encode()])

    def unpacked(path: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as target:
            unpack(path, target)

    yield Reader(unpacked, ArchiveError, [packed("hw4-1_2", {"a.py": b"1", "b/c.py": b"2" * 99}, ROOT)])


def archived(checkpoint: dict) -> bytes:
    """A checkpoint as PyTorch writes it, without our checksum."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    """Members in an archive whose own checksums are right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def fuzz(trials: int, seed: int, folder: Path) -> None:
    """Read so many files, print how often each outcome came, as JSON, and end the process."""
    kinds = list(readers(folder))
    corpus, words, path = folder / "corpus", folder / "words", folder / "changed"
    corpus.mkdir()
    for number, kind in enumerate(kinds):
        for place, example in enumerate(kind.examples):
            (corpus / f"{number}-{place}").write_bytes(bytes([number]) + example)
    words.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in WORDS))
    found = collections.Counter[str]()

    def one_trial(data: bytes) -> None:
        kind = kinds[data[0] % len(kinds) if data else 0]
        path.write_bytes(kind.wrap(data[1:]))
        try:
            kind.read(path)
            found["read"] += 1
        except kind.refusal as error:
            found["refused" if "\n" not in str(error) else f"in two lines: {error!r}"] += 1
        except Exception as error:
            found[f"{kind.read.__qualname__} raised {error!r}"[:300]] += 1
        if found.total() == trials:
            print(json.dumps(found), flush=True)
            os._exit(0)

    limits = ["-runs=-1", f"-timeout={HUNG}", f"-rss_limit_mb={MEMORY >> 20}", "-max_len=65536", "-len_control=0"]
    limits.append(f"-artifact_prefix={tempfile.gettempdir()}/")
    atheris.Setup([sys.argv[0], *limits, f"-seed={seed + 1}", f"-dict={words}", "-verbosity=0", str(corpus)], one_trial)
    atheris.Fuzz()


def outcomes(trials: int, seed: int) -> collections.Counter[str]:
    """How often each outcome came, in a process of its own, which a file may end."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.fuzz_files", str(trials), str(seed), folder]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
    if done.returncode:
        return collections.Counter([f"ended by {done.returncode}: {done.stderr[-1000:]!r}"])
    return collections.Counter(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    trials, seed, *place = [*sys.argv[1:], *["20000", "0"][len(sys.argv) - 1 :]]
    if place:
        fuzz(int(trials), int(seed), Path(*place))
    found = outcomes(int(trials), int(seed))
    print(f"{trials} files:", *(f"{count} {name}" for name, count in found.items()), sep="\n")
    sys.exit(not found.keys() <= {"read", "refused"})
