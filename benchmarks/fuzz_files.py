"""Mutate results files and checkpoints and read them: each is to be read as data, or refused with a ValueError.

python benchmarks/fuzz_files.py [TRIALS [SEED]]

The files are made of the committed ones, with shorter lists, and without the checksum that would end each trial at
once. A process of little memory reads them. What else happens is counted; the same seed makes the same files.
"""

import collections
import io
import multiprocessing as mp
import pickle
import pickletools
import random
import resource
import sys
import tempfile
import zipfile
from pathlib import Path

from hw4 import files

ROOT = Path(__file__).parents[1]
CODES = [code.code.encode("latin-1") for code in pickletools.opcodes]
EXTREMES = [value.to_bytes(size, "little", signed=True) for size in (4, 8) for value in (-1, 0, -(2**31), 2**31 - 1)]


def changed(content: bytes, starts: list[int], other: bytes, rng: random.Random) -> bytes:
    """Bytes, at places where an opcode starts or anywhere, removed, replaced or put in; or the end left out."""
    result = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4])):
        where = rng.choice([rng.choice(starts), rng.choice(starts) + 1, rng.randrange(len(content))])
        piece = other[(start := rng.randrange(len(other))) : start + rng.choice([1, 10, 100])]
        new = rng.choice([b"", piece, rng.choice(CODES), rng.choice(EXTREMES), rng.randbytes(1)])
        result[where : where + rng.choice([0, 1, 1, 2, 4, 8])] = new
    return bytes(result[: rng.choice([None, None, None, rng.randrange(len(content))])])


def outcome(content: bytes, path: Path) -> str:
    """What reading a file leads to."""
    path.write_bytes(content)
    try:
        (files.load_checkpoint if content[:2] == b"PK" else files.load_training_data)(path)
    except ValueError as error:
        return "refused" if "\n" not in str(error) else f"refused in several lines: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "read"


def fuzz(trials: int, seed: int, folder: Path, counts: mp.SimpleQueue) -> None:
    """Count the outcomes of all trials."""
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))

    def cut(data: dict) -> dict:
        return {name: value[:8] if isinstance(value, list) else value for name, value in data.items()}

    rng, found, path = random.Random(seed), collections.Counter[str](), folder / "mutated.dat"
    results = [files.load_training_data(path) for path in sorted((ROOT / "results").glob("*.dat"))]
    pickles = [pickle.dumps({k: cut(v) for k, v in data.items()}, protocol) for data in results for protocol in (2, 4)]
    checkpoint = files.load_checkpoint(ROOT / "checkpoints" / "Beresheet-v2-ac_final.dat")
    files.save_checkpoint({**checkpoint, "training_data": cut(checkpoint["training_data"])}, path)
    archive = path.read_bytes()[: -files.SEAL_SIZE - 2] + b"\0\0"
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    pickles += [members["archive/data.pkl"]] * 4
    starts = {content: [position for *_, position in pickletools.genops(content)] for content in pickles}
    for _ in range(trials):
        content, other = rng.choice(pickles), rng.choice(pickles)
        mutated = changed(content, starts[content], other, rng)
        if content == pickles[-1]:  # in an archive whose own checksums are right, or the archive itself
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as target:
                for name, data in {**members, "archive/data.pkl": mutated}.items():
                    target.writestr(name, data[: rng.choice([None] * 99 + [len(data) // 2])])
            mutated = buffer.getvalue() if rng.random() < 0.8 else changed(archive, [len(archive) - 3000], other, rng)
        found[outcome(mutated, path)] += 1
    counts.put(found)


if __name__ == "__main__":
    trials, seed = [*map(int, sys.argv[1:]), *[20_000, 0][len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as folder:
        counts = mp.SimpleQueue()
        process = mp.Process(target=fuzz, args=(trials, seed, Path(folder), counts))
        process.start()
        process.join()
        found = counts.get() if process.exitcode == 0 else {f"ended with status {process.exitcode}": 1}
    print(f"{trials} trials:", *(f"{count} {name}" for name, count in found.items()), sep="\n")
    sys.exit(set(found) - {"read", "refused"} != set())
