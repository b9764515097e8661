"""Files that are written whole or not at all, and read without running code from them.

Results are ordinary pickles and checkpoints ordinary `torch.save` archives. Both formats can carry code. What is read
here may hold containers, numbers, strings, NumPy arrays and tensors, and nothing else.
"""

import io
import os
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from cs236781.files import write_whole

PathLike = str | os.PathLike[str]


def dump_training_data(data: dict[str, Any], filename: PathLike) -> None:
    """Write results, {configuration: training_data}, as a pickle."""
    write_whole(Path(filename), pickle.dumps(data))


def load_training_data(filename: PathLike) -> dict[str, Any]:
    """Read results that `dump_training_data` wrote.

    :raises FileNotFoundError: if there is no such file.
    :raises ValueError: if it is cut short, of another kind, or holds more than plain data.
    """
    with _readable(filename).open("rb") as file:
        try:
            data = _PlainUnpickler(file).load()
        except Exception as error:  # a pickle that is none can fail in any way
            raise ValueError(f"{filename} is not a results file, or a damaged one: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{filename} is not a results file: it holds a {type(data).__name__}, not a dict")
    return data


def save_checkpoint(data: dict[str, Any], filename: PathLike) -> None:
    """Write a checkpoint, which `torch.load` reads with its safe default."""
    buffer = io.BytesIO()
    torch.save(data, buffer)
    write_whole(Path(filename), buffer.getvalue())


def load_checkpoint(filename: PathLike) -> dict[str, Any]:
    """Read a checkpoint, tensors on the CPU.

    :raises FileNotFoundError: if there is no such file.
    :raises ValueError: if it is cut short, of another kind, or holds more than plain data.
    """
    path = _readable(filename)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that are refused anyhow
            data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # as above
        refused = "it holds more than plain data" if zipfile.is_zipfile(path) else "it is cut short, or of another kind"
        raise ValueError(f"{filename} is not a checkpoint: {refused}") from error
    if not isinstance(data, dict) or "params" not in data:
        raise ValueError(f"{filename} is not a checkpoint: it has no 'params'")
    return data


def _readable(filename: PathLike) -> Path:
    path = Path(filename)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {filename}")
    if not path.is_file():
        raise ValueError(f"{filename} is not a file")
    return path


class _PlainUnpickler(pickle.Unpickler):
    """Builds what pickle builds itself, NumPy arrays and tensors; names anything else and refuses it."""

    ALLOWED = frozenset(
        {
            ("collections", "OrderedDict"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),  # how pickle's older protocols write bytes
            ("torch._utils", "_rebuild_tensor_v2"),
            ("torch._utils", "_rebuild_parameter"),
            *(
                (f"{core}.{module}", name)
                for core in ("numpy.core", "numpy._core")
                for module, name in (
                    ("multiarray", "_reconstruct"),
                    ("multiarray", "scalar"),
                    ("numeric", "_frombuffer"),
                )
            ),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _load_storage
        if (module, name) in self.ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is not plain data")


def _load_storage(data: bytes) -> Any:
    # torch.storage._load_from_bytes, with the loader that runs no code.
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
