"""Mutate results files and checkpoints and read them: each is to be read as data, or refused with a ValueError.

python benchmarks/fuzz_files.py [TRIALS [SEED]]

They are made of the committed files, with shorter lists, and without the checksum that would end each trial at once.
All outcomes are counted; a crash ends the program. The same seed makes the same files.
"""

import collections
import io
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
    except Exception as error:
        return "refused" if type(error) is ValueError and "\n" not in str(error) else repr(error)
    return "read"


def fuzz(trials: int, seed: int, path: Path) -> collections.Counter[str]:
    """How often each outcome came, with little memory."""
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    rng, found = random.Random(seed), collections.Counter[str]()
    checkpoint = files.load_checkpoint(ROOT / "checkpoints" / "Beresheet-v2-ac_final.dat")
    results = [files.load_training_data(file) for file in sorted((ROOT / "results").glob("*.dat"))]
    for training_data in (checkpoint["training_data"], *(data for result in results for data in result.values())):
        training_data |= {name: value[:8] for name, value in training_data.items() if isinstance(value, list)}
    files.save_checkpoint(checkpoint, path)
    archive = path.read_bytes()[: -files.SEAL_SIZE - 2] + b"\0\0"
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    pickles = [pickle.dumps(result, protocol) for result in results for protocol in (2, 4)]
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
    return found


if __name__ == "__main__":
    trials, seed = [*map(int, sys.argv[1:]), *[20_000, 0][len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(trials, seed, Path(folder, "mutated.dat"))
    print(f"{trials} trials:", *(f"{count} {name}" for name, count in found.items()), sep="\n")
    sys.exit(not found.keys() <= {"read", "refused"})
