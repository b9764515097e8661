"""Results and checkpoints: written as ordinary files, read without running code from them."""

import io
import os
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from hw4.files import dump_training_data, load_checkpoint, load_training_data, save_checkpoint
from tests import toy


def dotted_name(module, name):
    """A pickle that asks for a name with a dot in it, and so for what a module's members hold."""
    parts = b"".join(b"\x8c" + bytes([len(s)]) + s.encode() for s in (module, name))
    return b"\x80\x04}\x8c\x05value" + parts + b"\x93s."


def torch_bytes(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


WEIGHTS = {"scores.weight": torch.arange(6.0).reshape(2, 3), "scores.bias": torch.ones(2)}
RESULTS = {"vpg": {"loss_p": [1.5, -2.0], "episode_num": [3, 6], "model_state": WEIGHTS}}
CHECKPOINT = {"params": WEIGHTS, "best_mean_reward": -1.5, "hp": {"hidden_layers": [2]}, "env_name": None}


class TestPlainFiles:
    @pytest.fixture
    def file(self, tmp_path):
        file = tmp_path / "results" / "exp.dat"
        dump_training_data(RESULTS, file)
        return file

    @pytest.fixture
    def checkpoint(self, tmp_path):
        file = tmp_path / "checkpoints" / "checkpoint.dat"
        save_checkpoint(CHECKPOINT, file)
        return file

    def test_results_round_trip(self, file):
        loaded = load_training_data(file)["vpg"]
        assert (loaded["loss_p"], loaded["episode_num"]) == ([1.5, -2.0], [3, 6])
        assert toy.same_weights(loaded["model_state"], WEIGHTS)

    @pytest.mark.parametrize("load", [load_checkpoint, torch.load])
    def test_checkpoint_round_trip(self, checkpoint, load):
        loaded = load(checkpoint)
        assert toy.same_weights(loaded.pop("params"), WEIGHTS)
        assert loaded == {name: value for name, value in CHECKPOINT.items() if name != "params"}

    def test_plain_pickle_needs_nothing_of_ours(self, file):
        """A process that knows only PyTorch reads results."""
        script = (
            "import pickle; d = pickle.load(open('exp.dat', 'rb'))['vpg']; print(d['episode_num'], *sorted({type("
            "t).__name__ for t in d['model_state'].values()}))"
        )
        done = subprocess.run([sys.executable, "-c", script], cwd=file.parent, capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("[3, 6] Tensor\n", "")

    def test_a_failing_dump_leaves_the_old_file(self, file):
        before = file.read_bytes()
        with pytest.raises(ValueError, match=r"exp\.dat is not written: broken is a function, not a dict"):
            dump_training_data({**RESULTS, "broken": lambda: None}, file)
        assert file.read_bytes() == before
        assert [p.name for p in file.parent.iterdir()] == ["exp.dat"]

    def test_a_dump_replaces_the_old_file(self, file):
        dump_training_data({"aac": {}}, file)
        assert load_training_data(file) == {"aac": {}}
        assert [p.name for p in file.parent.iterdir()] == ["exp.dat"]

    @pytest.mark.parametrize("load", [load_training_data, load_checkpoint])
    def test_a_missing_file(self, load, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"missing\.dat"):
            load(tmp_path / "missing.dat")

    @pytest.mark.parametrize("fraction", [0.0, 0.3, 0.7, 0.99])
    def test_files_cut_short(self, file, checkpoint, fraction):
        for load, path in ((load_training_data, file), (load_checkpoint, checkpoint)):
            content = path.read_bytes()
            path.write_bytes(content[: int(fraction * len(content))])
            with pytest.raises(ValueError, match=path.name):
                load(path)

    @pytest.mark.parametrize("load", [load_training_data, load_checkpoint])
    @pytest.mark.parametrize(
        "content",
        [
            b"just some text\n",
            b"\x89PNG\r\n\x1a\n" + bytes(100),
            pickle.dumps([1, 2, 3]),
            random.Random(0).randbytes(1000),
        ],
        ids=["text", "picture", "list", "noise"],
    )
    def test_a_file_of_another_kind(self, load, content, tmp_path):
        file = tmp_path / "other.dat"
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"other\.dat"):
            load(file)

    @pytest.mark.parametrize("load", [load_training_data, load_checkpoint])
    def test_a_folder(self, load, tmp_path):
        with pytest.raises((ValueError, OSError), match=tmp_path.name):
            load(tmp_path)

    def test_one_is_not_the_other(self, file, checkpoint):
        with pytest.raises(ValueError, match=r"checkpoint\.dat"):
            load_training_data(checkpoint)
        with pytest.raises(ValueError, match=r"exp\.dat"):
            load_checkpoint(file)

    def test_a_checkpoint_without_parameters(self, checkpoint):
        before = checkpoint.read_bytes()
        with pytest.raises(ValueError, match="it has no 'params'"):
            save_checkpoint({"best_mean_reward": 1.0}, checkpoint)
        assert checkpoint.read_bytes() == before

    def test_where_no_file_can_be(self, file):
        """For root neither: a file is where its folder would be."""
        for write, data in ((dump_training_data, RESULTS), (save_checkpoint, CHECKPOINT)):
            with pytest.raises(OSError, match=r"exp\.dat"):
                write(data, file / "folder" / "data.dat")


class Calls:
    """Pickles as a call of a function, which a reader that trusts it makes."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


ATTACKS = {
    "os.system": lambda: Calls(os.system, "touch owned"),
    "eval": lambda: Calls(eval, "open('owned', 'w')"),
    "exec": lambda: Calls(exec, "open('owned', 'w')"),
    "open": lambda: Calls(open, "owned", "w"),
    "getattr": lambda: Calls(getattr, "text", "upper"),
    "subprocess": lambda: Calls(subprocess.Popen, ["touch", "owned"]),
    "np.load": lambda: Calls(np.load, "evil.npy", None, True),
    "torch.load": lambda: Calls(torch.load, "evil.pt", None, None),
    # A tensor's storage inside a pickle is bytes that are a pickle again, which PyTorch itself reads trustingly.
    "storage": lambda: Calls(torch.storage._load_from_bytes, torch_bytes(Calls(os.system, "touch owned"))),
    "in a numpy array": lambda: np.array([Calls(os.system, "touch owned")], dtype=object),
    "our own class": lambda: toy.ConstantNet([0.0]),
}


class TestMalicious:
    """Files that would run code if they were read without care; each would make the file `owned`."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        return tmp_path

    @pytest.mark.parametrize("attack", ATTACKS)
    def test_results_are_refused(self, attack, folder):
        (folder / "evil.dat").write_bytes(pickle.dumps({"vpg": {"loss_p": [1.0], "model_state": ATTACKS[attack]()}}))
        with pytest.raises(ValueError, match=r"evil\.dat"):
            load_training_data(folder / "evil.dat")
        assert [p.name for p in folder.iterdir()] == ["evil.dat"]

    @pytest.mark.parametrize("attack", ATTACKS)
    def test_checkpoints_are_refused(self, attack, folder):
        torch.save({"params": ATTACKS[attack](), "best_mean_reward": 1.0}, folder / "evil.dat")
        with pytest.raises(ValueError, match=r"evil\.dat"):
            load_checkpoint(folder / "evil.dat")
        assert [p.name for p in folder.iterdir()] == ["evil.dat"]

    @pytest.mark.parametrize(
        ("module", "name"),
        [
            ("torch._utils", "_rebuild_tensor_v2.__globals__"),
            ("collections", "OrderedDict.__init__"),
            ("numpy", "ndarray.tofile"),
            ("os", "system"),
            ("builtins", "eval"),
        ],
    )
    def test_names_are_refused(self, module, name, folder):
        (folder / "evil.dat").write_bytes(dotted_name(module, name))
        with pytest.raises(ValueError, match=r"evil\.dat"):
            load_training_data(folder / "evil.dat")

    def test_says_what_it_refused(self, folder):
        (folder / "evil.dat").write_bytes(pickle.dumps({"a": Calls(os.system, "touch owned")}))
        with pytest.raises(ValueError, match="system"):
            load_training_data(folder / "evil.dat")

    def test_such_files_do_run_code_when_trusted(self, folder):
        """What makes the tests above worth something."""
        pickle.loads(pickle.dumps(ATTACKS["storage"]()))
        assert (folder / "owned").exists()
