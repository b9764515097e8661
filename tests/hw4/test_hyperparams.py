"""Which hyperparameters are accepted, and texts that override them."""

import math

import numpy as np
import pytest

from hw4.hyperparams import check_count, check_hyperparams, with_overrides
from tests import toy

HP = toy.hyperparams()
ENDS = {"learn_rate_end": 0.0, "beta_end": -0.1, "action_repeat": 2}


class TestCheck:
    @pytest.mark.parametrize("name", ["batch_size", "gamma", "beta", "learn_rate", "eps", "hidden_layers"])
    def test_missing(self, name):
        with pytest.raises(ValueError, match=f"hyperparameters are missing: {name} "):
            check_hyperparams({k: v for k, v in HP.items() if k != name})

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *((name, bad) for name in ("batch_size", "learn_rate", "eps") for bad in (0, -1, "x", None, math.nan)),
            *(
                (name, bad)
                for name in ("delta", "gamma", "gamma_end", "learn_rate_end")
                for bad in (-0.5, "x", None, math.nan)
            ),
            *((name, True) for name in ("delta", "gamma", "gamma_end", "learn_rate_end")),
            *(("batch_size", bad) for bad in (2.5, True)),
            *(("hidden_layers", bad) for bad in (8, "8", [8, -1], [8, 0], [8.0], None)),
            *(("activation", bad) for bad in ("swish", ["relu"], None)),
            *(("initial_logits", bad) for bad in (3.0, [1.0, "much"])),
            *((name, bad) for name in ("beta", "beta_end") for bad in ("x", None, math.nan, True, [[0, 1], [1, 0]])),
            *(("action_repeat", bad) for bad in (0, 1.5, True)),
            *(
                (name, 10**400)
                for name in ("batch_size", "gamma", "beta", "learn_rate", "eps", "action_repeat", "beta_end")
            ),
            *((name, 10**20) for name in ("delta", "value_scale", "batch_size", "action_repeat", "beta")),
            *(("initial_logits", [bad, 0, 0, 0]) for bad in (10**20, 10**400)),
            *(("hidden_layers", [bad]) for bad in (10**400, 2**65, 2**63, 10**6)),
            *(("hidden_layers", bad) for bad in ([10**6] * 2, [8400, 8400], [1] * 101)),
            ("gamma", 1.5),
            ("learn_rate", math.inf),
            ("learn_rate", [0.1]),
            ("orthogonal", "yes"),
            ("value_scale", 0),
        ],
    )
    def test_of_a_wrong_kind(self, name, value):
        with pytest.raises(ValueError, match=f"{name} must be "):
            check_hyperparams({**HP, name: value})

    @pytest.mark.parametrize(
        "more",
        [
            {},
            ENDS,
            {"hidden_layers": [3000, 3000], "batch_size": 100_000},
            {"hidden_layers": [64] * 100, "delta": 10**18},
            {"batch_size": np.int64(3), "gamma": np.float32(0.5), "hidden_layers": (np.int32(8), 4), "beta": 0},
            {"hidden_layers": [], "gamma": 1, "initial_logits": [3, 0.5], "beta": -0.5, "activation": "tanh"},
            {"dropout": 0.1, "width": "wide"},
        ],
        ids=["small", "ends", "large", "deep", "NumPy's", "limits", "a student's own"],
    )
    def test_accepted(self, more):
        check_hyperparams({**HP, **more})

    @pytest.mark.parametrize("value", [-1, 1.0, "1", True, None])
    def test_count(self, value):
        with pytest.raises(ValueError, match="number must be a whole number from 0"):
            check_count("number", value, lowest=0)


class TestOverrides:
    def test_values_are_read_as_python_writes_them(self):
        hp = with_overrides(HP, ["learn_rate=0.5", "hidden_layers=[4, 2]", "activation=tanh", "orthogonal=True"])
        changed = {"learn_rate": 0.5, "hidden_layers": [4, 2], "activation": "tanh", "orthogonal": True}
        assert hp == {**HP, **changed}

    def test_one_of_a_students_own(self):
        assert with_overrides({**HP, "width": 3}, ["width=5"])["width"] == 5

    @pytest.mark.parametrize(
        ("override", "problem"),
        [
            ("learning_rate=0.1", "no hyperparameter 'learning_rate'; there are: batch_size"),
            ("gamma", "KEY=VALUE, such as learn_rate=0.01, got 'gamma'"),
            ("", "KEY=VALUE"),
            ("=1", "no hyperparameter ''"),
            ("gamma=2", "gamma must be a number from 0 to 1, got 2"),
            ("batch_size=x", "batch_size must be a whole number from 1 to 100000, got 'x'"),
            ("beta_end=x", r"beta_end must be a number from -1e\+18 to 1e\+18, got 'x'"),
            *((f"gamma={text}", "gamma must be a number from 0 to 1, got ") for text in ("{[]:1}", "{{}}", "{[1]}")),
            (f"gamma={'-' * 100_000}1", r"gamma must be a number from 0 to 1, got '-{12}\.\.\.-{12}1'$"),
            (f"gamma=1{'0' * 400}", r"gamma must be a number from 0 to 1, got 10*\.\.\.0*$"),
        ],
    )
    def test_a_slip_of_the_pen(self, override, problem):
        with pytest.raises(ValueError, match=problem):
            with_overrides(HP, [override])
