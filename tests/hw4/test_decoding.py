"""Results and checkpoints: what is written can be read, and nothing else can."""

import contextlib
import copy
import io
import math
import pickle
import pickletools
import random
import resource
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from hw4 import decoding, files
from hw4.files import check_fits, dump_training_data, load_checkpoint, load_training_data, save_checkpoint

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("unchecked")


def equal(value, other):
    """Equal in types, order and bits."""
    if type(value) is not type(other):
        return False
    if isinstance(value, torch.Tensor):
        return value.dtype == other.dtype and torch.equal(value, other)
    if isinstance(value, dict):
        return list(value) == list(other) and all(equal(value[key], other[key]) for key in value)
    if isinstance(value, (list, tuple)):
        return len(value) == len(other) and all(map(equal, value, other))
    return value == other


def some_results():
    state = {"scores.weight": torch.arange(6.0).reshape(2, 3), "scores.bias": torch.ones(2)}
    lists = {"loss_p": [1.5, -2.0], "mean_reward": [-200.25, 3e-300], "episode_num": [3, 6]}
    more = {"step_num": [40, 90], "best_mean_reward": [-200.25, -10.5], "loss_t": [1.5, -2.0]}
    run = {"seed": 1, "hp": {"hidden_layers": (64, 64)}, "finished": True}
    return {"vpg": {**lists, "model_state": state, "run": run}, "aac": {**lists, **more}}


def a_model_that_learned(**options):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), fused=True, **options)
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    return model, optimizer


def some_checkpoint():
    model, optimizer = a_model_that_learned()
    return {
        "params": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "best_mean_reward": -10.5,
        "optimizer": optimizer.state_dict(),
        "training_data": some_results()["aac"],
        "recent_rewards": [1.0, -2.0],
        "net_type": "PolicyNet",
        "hp": {"learn_rate": 0.01, "hidden_layers": [64], "schedule": [(0, 1.0), (1, 0.5)], "limit": math.inf},
        "env_name": "Beresheet-v2",
        "seed": 2**63,
    }


@pytest.fixture
def file(tmp_path):
    return tmp_path / "file.dat"


@pytest.fixture(params=["results", "checkpoint"])
def kind(request):
    """A writer, its reader, and what they take."""
    if request.param == "results":
        return dump_training_data, load_training_data, some_results()
    return save_checkpoint, load_checkpoint, some_checkpoint()


# --- what is read


@pytest.mark.parametrize("name", ["part1_exp.dat", "part1_exp_aac.dat"])
def test_committed_results(name):
    path = ROOT / "results" / name
    assert equal(load_training_data(path), pickle.loads(path.read_bytes()))


def test_the_committed_checkpoint():
    path = ROOT / "checkpoints" / "Beresheet-v2-ac_final.dat"
    assert equal(load_checkpoint(path), torch.load(path))


def test_what_is_written_is_read_by_all(kind, file):
    write, read, data = kind
    write(data, file)
    assert equal(read(file), data)
    assert equal(pickle.loads(file.read_bytes()) if write is dump_training_data else torch.load(file), data)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_results_of_the_published_notebook(protocol, file):
    """A state dict as PyTorch gives it, of parameters in shared memory; and losses that are tensors."""
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).share_memory()
    data = {"loss_p": [torch.tensor(0.5), 1.0], "episode_num": [3, 6], "model_state": model.state_dict()}
    file.write_bytes(pickle.dumps({"cpg": data}, protocol))
    assert equal(
        load_training_data(file)["cpg"],
        {"loss_p": [0.5, 1.0], "episode_num": [3, 6], "model_state": dict(model.state_dict())},
    )


def test_a_part_of_a_larger_tensor(file):
    whole = torch.arange(12.0)
    file.write_bytes(pickle.dumps({"cpg": {"model_state": {"weight": whole[2:8].reshape(2, 3)}}}))
    assert equal(load_training_data(file)["cpg"]["model_state"], {"weight": whole[2:8].reshape(2, 3)})


names = st.text(max_size=8)
numbers = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63) + 1, 2**63 - 1))
as_numpy = st.floats(allow_nan=False, allow_infinity=False, width=32).map(np.float32)
tensors = st.tuples(st.lists(st.integers(0, 3), max_size=4), st.sampled_from([*decoding.DTYPES.values()]))
tensors = tensors.map(lambda made: (torch.arange(math.prod(made[0])) % 2).reshape(made[0]).to(made[1]))
plain = st.recursive(
    st.none() | st.booleans() | numbers | st.just(math.inf) | names | as_numpy,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=8,
)
in_lists = numbers.filter(lambda number: abs(number) <= 1e300) | as_numpy
training_data = st.integers(0, 3).flatmap(
    lambda length: st.dictionaries(
        names.filter(lambda name: name not in ("model_state", "run", "episode_num", "step_num")),
        st.lists(in_lists, min_size=length, max_size=length),
        max_size=3,
    ).map(lambda lists: {**lists, "episode_num": list(range(length))})
)


def converted(value):
    """NumPy's numbers as Python's."""
    if isinstance(value, dict):
        return {name: converted(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(converted, value))
    return value.item() if isinstance(value, np.generic) else value


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, training_data, max_size=3), st.dictionaries(names, tensors, max_size=3), plain)
def test_every_result_comes_back(file, lists, state, run):
    data = {name: {**value, "model_state": state, "run": {"x": run}} for name, value in lists.items()}
    dump_training_data(data, file)
    assert equal(load_training_data(file), converted(data))
    assert equal(pickle.loads(file.read_bytes()), converted(data))


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, tensors, max_size=3), training_data, plain)
def test_every_checkpoint_comes_back(file, params, lists, hp):
    data = {"params": params, "training_data": lists, "hp": {"x": hp}, "best_mean_reward": -math.inf}
    save_checkpoint(data, file)
    assert equal(load_checkpoint(file), converted(data))
    assert equal(torch.load(file), converted(data))


# --- what is not written


def lists(values):
    return {"training_data": {"episode_num": [1, 2], "loss_p": values}}


BAD_ENTRIES = {
    "NaN": lists([math.nan, 1.0]),
    "infinity": lists([1.0, -math.inf]),
    "a list with a text": lists(["1", 2.0]),
    "a list with nothing": lists([None, 1.0]),
    "a list with a bool": lists([True, 1.0]),
    "a list with a tensor": lists([torch.ones(2), 1.0]),
    "a list with a huge number": lists([10**400, 1.0]),
    "a longer list": lists([1.0, 2.0, 3.0]),
    "a list that is none": lists({"a": 1.0}),
    "episodes that fall": {"training_data": {"episode_num": [9, 3]}},
    "half an episode": {"training_data": {"episode_num": [0.5]}},
    "no training data": {"training_data": None},
    "infinite weights": {"params": {"w": torch.tensor([1.0, math.inf])}},
    "weights on no device": {"params": {"w": torch.ones(2, device="meta")}},
    "sparse weights": {"params": {"w": torch.eye(2).to_sparse()}},
    "complex weights": {"params": {"w": torch.ones(2, dtype=torch.complex64)}},
    "weights that are a list": {"params": {"w": [1.0]}},
    "no weights": {"params": None},
    "NaN in a moment": {"optimizer": {"state": {0: {"exp_avg": torch.tensor([math.nan])}}, "param_groups": []}},
    "an optimizer that is a number": {"optimizer": 5},
    "a class": {"hp": {"activation": nn.Tanh}},
    "NaN among the hyperparameters": {"hp": {"delta": math.nan}},
    "hyperparameters that are too deep": {"hp": {"x": [[[[[[[[[[1]]]]]]]]]]}},
    "a name that is a number": {"hp": {1: 2}},
    "a name of two lines": {"hp": {"a\nb": nn.Tanh}},
    "rewards that are a number": {"recent_rewards": 7},
    "a best that is NaN": {"best_mean_reward": math.nan},
    "a best that is a text": {"best_mean_reward": "10"},
    "a negative seed": {"seed": -1},
    "half a character": {"hp": {"activation": "\ud800"}},
    "numbers too large to draw": lists([1e308, -1e308]),
    "a flag that is a text": {"finished": "no"},
    **{f"a run that is {run!r}": {"run": run} for run in ([1], 5, "x", None)},
    **{
        f"a run whose {name} is {value!r}": {"run": {name: value}}
        for name, values in {"seed": ("x", None, [1], -1), "finished": ("no", 1), "hp": (None, "x")}.items()
        for value in values
    },
    "an environment of a module": {"env_name": "antigravity:Moon-v0"},
}


@pytest.mark.parametrize("change", BAD_ENTRIES.values(), ids=BAD_ENTRIES)
def test_what_is_neither_written_nor_read(change, file):
    """Whichever function of PyTorch's wrote it."""
    data, old = {**some_checkpoint(), **change}, b"old"
    file.write_bytes(old)
    with pytest.raises(ValueError, match=rf"\A[^\n]*file\.dat is not written: [^\n]*{next(iter(change))}[^\n]*\Z"):
        save_checkpoint(data, file)
    assert file.read_bytes() == old
    torch.save(data, file)
    with pytest.raises(ValueError, match=r"\A[^\n]*file\.dat is not a checkpoint[^\n]*\Z"):
        load_checkpoint(file)


@pytest.mark.parametrize("change", [*BAD_ENTRIES.values()][:9], ids=[*BAD_ENTRIES][:9])
def test_results_that_are_neither_written_nor_read(change, file):
    data = {"vpg": change["training_data"]}
    with pytest.raises(ValueError, match=r"\A[^\n]*file\.dat is not written: vpg: [^\n]*\Z"):
        dump_training_data(data, file)
    file.write_bytes(pickle.dumps(data))
    with pytest.raises(ValueError, match=r"\A[^\n]*file\.dat is not a results file[^\n]*\Z"):
        load_training_data(file)


@pytest.mark.parametrize(
    "results",
    [
        {"vpg": {"episode_num": [1, 2], "mean_reward": [1e308, -1e308]}},
        {"vpg": {"run": [1]}},
        {"vpg": {"run": {"seed": "x"}}},
        {"\ud800": {}},
    ],
    ids=str,
)
def test_results_that_no_reader_could_use(results, file):
    with pytest.raises(ValueError, match=r"\A[^\n]*file\.dat is not written: [^\n]*\Z"):
        dump_training_data(results, file)
    file.write_bytes(pickle.dumps(results))
    with pytest.raises(ValueError, match=r"\A[^\n]*file\.dat is not a results file[^\n]*\Z"):
        load_training_data(file)


def test_numbers_of_numpy_and_pytorch_become_pythons(file):
    hp = {"delta": np.float64(0.5), "layers": np.array([64, 64]), "lr": torch.tensor(0.25), "flag": np.bool_(True)}
    save_checkpoint({"params": {}, "hp": hp, "best_mean_reward": np.float32(2)}, file)
    plain_hp = {"delta": 0.5, "layers": [64, 64], "lr": 0.25, "flag": True}
    assert equal(load_checkpoint(file), {"params": {}, "hp": plain_hp, "best_mean_reward": 2.0})


def test_parameters_are_written_as_tensors_of_their_own(file):
    large = torch.zeros(100_000)
    params = {"view": large[:4], "parameter": nn.Parameter(torch.ones(3)), "turned": torch.ones(2, 3).T}
    save_checkpoint({"params": params}, file)
    assert file.stat().st_size < 5000
    assert equal(
        load_checkpoint(file)["params"], {name: tensor.detach().contiguous() for name, tensor in params.items()}
    )


# --- damage


def test_each_flipped_bit_is_noticed(kind, file):
    write, read, data = kind
    write(data, file)
    content, rng = file.read_bytes(), random.Random(0)
    for _ in range(400):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged"):
            read(file)


def test_each_cut_is_noticed(kind, file):
    write, read, data = kind
    write(data, file)
    content = file.read_bytes()
    for length in {*range(0, len(content), 11), *range(len(content) - 120, len(content))}:
        if write is dump_training_data and length == len(content) - files.SEAL_SIZE:
            continue  # all of the pickle is there: a file of the format before
        file.write_bytes(content[:length])
        with pytest.raises(ValueError, match="damaged"):
            read(file)


def test_a_format_to_come(kind, file, monkeypatch):
    write, read, data = kind
    monkeypatch.setattr(files, "FORMAT", 2)
    write(data, file)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="its format is 2, and this version reads 1"):
        read(file)


def test_what_follows_the_end(kind, file):
    write, read, data = kind
    write(data, file)
    file.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(ValueError, match="damaged"):
        read(file)


# --- hostile pickles


def text(value):
    return b"\x8c" + bytes([len(value)]) + value.encode()


def name(module, name):
    return text(module) + text(name) + b"\x93"


def value(data):
    return pickletools.optimize(pickle.dumps(data, 2))[2:-1]


def call(function, *arguments):
    return function + b"(" + b"".join(arguments) + b"tR"


def pairs(*keys_and_values):
    return b"}(" + b"".join(keys_and_values) + b"u"


def results_of(value):
    return b"\x80\x05" + pairs(text("vpg"), value) + b"."


def storage_bytes(count=4, data=bytes(16), kind="FloatStorage"):
    header = b"".join(pickle.dumps(part, 2) for part in decoding.LEGACY_HEADER)
    reference = b"(" + text("storage") + name("torch", kind) + text("7") + text("cpu") + value(count) + b"NtQ."
    return header + reference + pickle.dumps(["7"], 2) + struct.pack("<q", count) + data


def storage(data=None):
    data = storage_bytes() if data is None else data
    return call(name("torch.storage", "_load_from_bytes"), b"B" + struct.pack("<I", len(data)) + data)


def tensor(shape=(4,), strides=(1,), offset=0, memory=None):
    parts = [memory or storage(), value(offset), value(shape), value(strides), b"\x89", call(ORDERED_DICT)]
    return call(REBUILD, *parts)


def state_of(*keys_and_values):
    return results_of(pairs(text("model_state"), pairs(*keys_and_values)))


def weight(*args, **kwargs):
    return state_of(text("w"), tensor(*args, **kwargs))


def weight_from(data):
    return weight(memory=storage(data))


ORDERED_DICT, REBUILD = name("collections", "OrderedDict"), name("torch._utils", "_rebuild_tensor_v2")
ARRAY, DTYPE = name("numpy", "ndarray"), name("numpy", "dtype")
ENCODE, SYSTEM = name("_codecs", "encode"), name("os", "system")
RUN = results_of(call(SYSTEM, text("touch owned")))
SMALL_ARRAY = [value((1,)), text("f8"), b"\x96" + struct.pack("<Q", 8) + bytes(8)]  # which can be written to
REFERENCES = b"".join(b"]\x94(h" + bytes([n, ord("h"), n, ord("e")]) for n in range(60))

HOSTILE = {
    "writes out of bounds": results_of(call(ARRAY, *SMALL_ARRAY, value(-(1 << 40))) + value(0) + value(1.0) + b"s"),
    "reads out of bounds": results_of(call(ARRAY, *SMALL_ARRAY, value(-4096))),
    "a dtype with other flags": results_of(
        call(DTYPE, text("f8")) + value((3, "<", None, None, None, -1, -1, 9)) + b"b"
    ),
    "a number of NumPy": pickle.dumps({"vpg": {"loss_p": [np.float64(1)]}}),
    "a tuple of tuples as a key": b"\x80\x04})" + b"\x85" * 1_000_000 + b"Ns.",
    "a tuple as a key": b"\x80\x04})Ns.",
    "lists in lists": b"\x80\x04" + b"]" * 1_000_000 + b"a" * 999_999 + b".",
    "marks": b"\x80\x04" + b"(" * 1_000_000 + b".",
    "lists of twice the list before": b"\x80\x04]\x94" + REFERENCES + b".",
    "a memo with gaps": b"\x80\x04}r" + struct.pack("<I", 1 << 28) + b".",
    "a reference to nothing": b"\x80\x04h\x05.",
    "a number of a million bytes": results_of(b"\x8b" + struct.pack("<i", 10**6) + b"\x7f" * 10**6),
    "a text that says it is long": results_of(b"X\xff\xff\xff\xff"),
    "bytes that say they are long": results_of(b"\x8e" + b"\xff" * 7 + b"\x7f"),
    "encode, again and again": results_of(call(ENCODE, call(ENCODE, b"C\x01=", text("hex")), text("hex"))),
    "attributes of a function": results_of(REBUILD + b"(N" + value({"__defaults__": (1, 2, 3)}) + b"tb"),
    "a function": results_of(SYSTEM),
    "a call of a function": RUN,
    "a call of a dotted name": results_of(call(name("torch._utils", "_rebuild_tensor_v2.__globals__.get"), text("os"))),
    "a call of a value": results_of(call(value(3))),
    "a call with other arguments": results_of(call(ORDERED_DICT, value([("a", 1)]))),
    "a class's instance": pickle.dumps({"vpg": nn.Linear(1, 1)}),
    "a tensor beyond its storage": weight((5,)),
    "an offset beyond its storage": weight(offset=1),
    "a negative offset": weight((1,), offset=-1),
    "strides that repeat": weight((1 << 20, 4), (0, 1)),
    "a negative size": weight((-4,)),
    "endless sizes": weight((0, 1 << 60, 1 << 60), (1, 1, 1)),
    "fewer strides than sizes": weight((4, 1)),
    "many dimensions": weight((1,) * 2000, (1,) * 2000),
    "a storage that is shorter": weight_from(storage_bytes(4, bytes(15))),
    "a storage of a negative size": weight_from(storage_bytes(-4)),
    "a storage of another kind": weight_from(storage_bytes(kind="UntypedStorage")),
    "a storage that runs code": weight_from(pickle.dumps(decoding.LEGACY_HEADER[0], 2) + RUN),
    "a storage in a storage": weight_from(storage()[:-2]),
    "a bool that is 2": weight_from(storage_bytes(4, b"\2" * 4, "BoolStorage")),
    "a storage as a number": results_of(pairs(text("loss_p"), b"]" + storage() + b"a")),
    "a tensor twice": state_of(text("a"), tensor() + b"\x94", text("b"), b"h\x00"),
    "another shape": pickle.dumps({1: [None], "x": {"mean_reward": "text"}}),
    "a list": pickle.dumps([1, 2]),
    "a key twice": b"\x80\x04" + pairs(text("a"), b"}", text("a"), b"}") + b".",
    "no end": pickle.dumps(some_results())[:-1],
    "an early end": b"\x80\x04}N.",
    "many small values": b"\x80\x04]" + b"Na" * 3_000_000 + b".",
}

LOADER = """
import pathlib, resource, time, torch
from hw4 import files
largest, slowest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
for path in sorted(pathlib.Path(".").glob("*.evil"), key=lambda path: int(path.stem)):
    before = time.process_time()
    try:
        files.load_training_data(path)
        outcome = "accepted"
    except ValueError as error:
        outcome = str(error)
    slowest = max(slowest, time.process_time() - before)
    print(path.stem, repr(outcome), flush=True)
print(slowest, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - largest) / 1024)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What a process with little memory says to each file; it may not crash, nor take long."""
    folder = tmp_path_factory.mktemp("hostile")
    for number, content in enumerate(HOSTILE.values()):
        (folder / f"{number}.evil").write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", LOADER],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30)),
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not (folder / "owned").exists()
    *lines, last = done.stdout.splitlines()
    seconds, megabytes = map(float, last.split())
    assert seconds < 10
    assert megabytes < 300
    return dict(zip(HOSTILE, lines, strict=True))


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_pickles(attack, outcomes):
    number, outcome = outcomes[attack].split(" ", 1)
    assert f"{number}.evil is not a results file, or a damaged one: " in outcome
    assert "\\n" not in outcome
    assert len(outcome) < 300


def test_the_crafted_pickles_are_right_but_for_their_fault(file):
    file.write_bytes(weight((2, 2), (2, 1)))
    assert equal(load_training_data(file), {"vpg": {"model_state": {"w": torch.zeros(2, 2)}}})


def test_says_what_it_refused(file):
    file.write_bytes(HOSTILE["a call of a function"])
    with pytest.raises(ValueError, match=r"it holds 'os\.system', which is not plain data"):
        load_training_data(file)


# --- hostile archives


def rewritten(content, change, compression=zipfile.ZIP_STORED):
    """An archive whose members, {name: bytes}, were changed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    change(members)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return buffer.getvalue()


def replace_pickle(old, new):
    def change(members):
        assert old in members["archive/data.pkl"]
        members["archive/data.pkl"] = members["archive/data.pkl"].replace(old, new)

    return change


ARCHIVES = {
    "its pickle calls a function": replace_pickle(b"ctorch._utils\n_rebuild_tensor_v2\n", b"cos\nsystem\n"),
    "a storage is missing": lambda members: members.pop("archive/data/1"),
    "a storage is shorter": lambda members: members.update({"archive/data/1": bytes(4)}),
    "a storage is longer": lambda members: members.update({"archive/data/1": bytes(400)}),
    "two tensors share a storage": replace_pickle(b"\x01\x00\x00\x001", b"\x01\x00\x00\x000"),
    "a storage is a path": replace_pickle(b"\x01\x00\x00\x001", b"\x04\x00\x00\x00../1"),
    "a tensor's type is another": replace_pickle(b"FloatStorage", b"DoubleStorage"),
    "the pickle is missing": lambda members: members.pop("archive/data.pkl"),
    "the pickle goes on": lambda members: members.update({"archive/data.pkl": members["archive/data.pkl"] + b"N."}),
    "the byte order is another": lambda members: members.update({"archive/byteorder": b"big"}),
    "there are many members": lambda members: members.update({f"archive/{n}": b"" for n in range(30_000)}),
}


@pytest.mark.parametrize("change", ARCHIVES.values(), ids=ARCHIVES)
def test_hostile_archives(change, file):
    save_checkpoint(some_checkpoint(), file)
    content = file.read_bytes()
    file.write_bytes(rewritten(content, lambda members: None))
    assert equal(load_checkpoint(file), some_checkpoint())
    file.write_bytes(rewritten(content, change))
    with pytest.raises(ValueError, match=r"file\.dat is not a checkpoint"):
        load_checkpoint(file)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_nothing_is_inflated(compression, file):
    save_checkpoint(some_checkpoint(), file)
    file.write_bytes(rewritten(file.read_bytes(), lambda members: None, compression))
    with pytest.raises(ValueError, match="a member is compressed"):
        load_checkpoint(file)


def test_members_that_overlap(file):
    """One storage's bytes, named by a thousand members, would be read a thousand times."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data/0", bytes(100_000))
        first = archive.infolist()[0]
        for number in range(1, 100):
            info = copy.copy(first)
            info.filename = info.orig_filename = f"archive/data/{number}"
            archive.filelist.append(info)
        archive._didModify = True
    file.write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match="overlap"):
        load_checkpoint(file)


def test_a_file_that_is_too_large(kind, file, monkeypatch):
    write, read, data = kind
    write(data, file)
    monkeypatch.setattr(files, "MAX_SIZE", 1000)
    with pytest.raises(ValueError, match="larger than"):
        read(file)
    with pytest.raises(ValueError, match="larger than"):
        write(data, file)


# --- what fits


def read_back(data, file):
    save_checkpoint(data, file)
    return load_checkpoint(file)


def test_a_checkpoint_fits_what_it_was_made_from(file):
    model, optimizer = a_model_that_learned()
    before = copy.deepcopy(optimizer.state_dict())
    for run in ({}, {"hp": {"batch_size": 3}, "running_mean_len": 2, "seed": 1}):
        check_fits(read_back({**some_checkpoint(), "run": run}, file), model, optimizer)
    assert equal(optimizer.state_dict(), before)
    assert all(parameter.grad is not None for parameter in model.parameters())
    with torch.device("meta"):
        model = nn.Linear(3, 2)
    check_fits(read_back(some_checkpoint(), file), model)


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.NAdam])
def test_other_optimizers(make, file):
    model = nn.Linear(3, 2)
    optimizer = make(model.parameters(), lr=0.1)
    for _ in range(2):
        data = {**some_checkpoint(), "params": model.state_dict(), "optimizer": optimizer.state_dict()}
        begun = data if data["optimizer"]["state"] else {**data, "training_data": {}, "recent_rewards": []}
        check_fits(read_back(begun, file), model, optimizer)
        model(torch.ones(3)).sum().backward()
        optimizer.step()


def changed(*path, to):
    def change(data):
        for part in path[:-1]:
            data = data[part]
        if to is None:
            del data[path[-1]]
        else:
            data[path[-1]] = to

    return change


MISFITS = {
    "smaller moments": changed("optimizer", "state", 0, "exp_avg", to=torch.zeros(1)),
    "moments of another type": changed("optimizer", "state", 0, "exp_avg_sq", to=torch.zeros(2, 3).double()),
    "a moment missing": changed("optimizer", "state", 1, "exp_avg_sq", to=None),
    "a moment more": changed("optimizer", "state", 1, "max_exp_avg_sq", to=torch.zeros(2)),
    "a step for each weight": changed("optimizer", "state", 0, "step", to=torch.zeros(2, 3)),
    "a step that is a text": changed("optimizer", "state", 0, "step", to="1"),
    "a state of no parameter": changed("optimizer", "state", 7, to={}),
    "a group more": changed("optimizer", "param_groups", to=some_checkpoint()["optimizer"]["param_groups"] * 2),
    "parameters in another order": changed("optimizer", "param_groups", 0, "params", to=[1, 0]),
    "another option": changed("optimizer", "param_groups", 0, "amsgrad", to=True),
    "betas of another kind": changed("optimizer", "param_groups", 0, "betas", to="0.9"),
    "a learning rate that is a text": changed("optimizer", "param_groups", 0, "lr", to="much"),
    "no learning rate": changed("optimizer", "param_groups", 0, "lr", to=None),
    "an infinite learning rate": changed("optimizer", "param_groups", 0, "lr", to=math.inf),
    "weights of another shape": changed("params", "weight", to=torch.zeros(3, 2)),
    "weights of another type": changed("params", "weight", to=torch.zeros(2, 3).double()),
    "a weight missing": changed("params", "bias", to=None),
    "a weight more": changed("params", "scale", to=torch.zeros(2)),
    "no optimizer": changed("optimizer", to=None),
    "no training data": changed("training_data", to=None),
    "no state after steps": changed("optimizer", "state", to={}),
    **{
        f"no {name}": changed("training_data", name, to=None)
        for name in ("step_num", "mean_reward", "best_mean_reward", "loss_t")
    },
    "episodes alone": changed("training_data", to={"episode_num": [2**62]}),
    "no recent rewards": changed("recent_rewards", to=[]),
    "more rewards than episodes": changed("recent_rewards", to=[1.0] * 7),
    "rewards of too short a window": changed("run", to={"running_mean_len": 5}),
    "batches of two sizes": changed("run", to={"hp": {"batch_size": 1}, "running_mean_len": 2}),
    "rewards before any batch": changed("training_data", to={}),
}


@pytest.mark.parametrize("change", MISFITS.values(), ids=MISFITS)
def test_checkpoints_that_do_not_fit(change, file):
    model, optimizer = a_model_that_learned()
    data = copy.deepcopy(some_checkpoint())
    change(data)
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z"):
        check_fits(read_back(data, file), model, optimizer)


def test_a_network_of_any_size_is_refused_before_it_is_made(file):
    with torch.device("meta"):
        model = nn.Linear(10**6, 10**6)
    with pytest.raises(ValueError, match=r"'weight' is float32 \(2, 3\), not float32 \(1000000, 1000000\)"):
        check_fits(read_back(some_checkpoint(), file), model)


# --- mutations


def test_mutated_files_are_data_or_are_refused(kind, file):
    """Without the checksum, so that the decoder itself is tried."""
    write, read, data = kind
    write(data, file)
    content, rng, accepted = file.read_bytes()[: -files.SEAL_SIZE], random.Random(1), 0
    content = content if write is dump_training_data else content[:-2] + b"\0\0"
    for _ in range(300):
        mutated = bytearray(content)
        for _ in range(rng.choice([1, 1, 2, 5])):
            place = rng.randrange(len(mutated))
            mutated[place : place + rng.choice([0, 1, 1, 8])] = rng.choice([rng.randbytes(1), mutated[:8], b""])
        file.write_bytes(mutated)
        with contextlib.suppress(ValueError):
            read(file)
            accepted += 1
    assert accepted < 150
