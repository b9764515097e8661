"""OnPolicyLoader: on-policy, the same whatever the number of workers, and clean when it ends, however it ends."""

import itertools
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from hw4 import rl_pg
from hw4.env import make_env
from hw4.rl_ac import AACPolicyAgent
from hw4.rl_data import TrainBatch
from hw4.rl_pg import PolicyAgent
from hw4.rollout import loader as engine
from hw4.rollout.collect import collect_in_order, episode_seed
from hw4.rollout.loader import LoaderWorkerError, OnPolicyLoader
from tests import toy

needs_fork = pytest.mark.skipif("fork" not in mp.get_all_start_methods(), reason="workers are started by fork")
WORKERS = [0, *(pytest.param(n, marks=needs_fork) for n in (1, 2, 3))]
N_ACTIONS = 3

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),  # more workers than processors, on purpose
]


def make_loader(make_env, net, batch_size=4, gamma=0.9, agent_type=PolicyAgent, **kwargs):
    kwargs = {"seed": 0, "make_env": make_env, **kwargs}
    return OnPolicyLoader(agent_type, net.share_memory(), batch_size, gamma, **kwargs)


def random_loader(seed=0, net=None, **kwargs):
    """A loader over environments in which everything is drawn at random, and a network that draws its actions."""
    torch.manual_seed(0)
    return make_loader(toy.RandomEnv, net or nn.Linear(3, N_ACTIONS), seed=seed, **kwargs)


def take(loader, n):
    return list(itertools.islice(loader, n))


def same_batches(batches, others):
    return len(batches) == len(others) and all(
        torch.equal(a, b) for x, y in zip(batches, others, strict=True) for a, b in zip(x, y, strict=True)
    )


@contextmanager
def ends_by(kind, message):
    """Expect an error, and that nothing is left behind."""
    with toy.nothing_left_behind(), pytest.raises(kind, match=message):
        yield


class TestOnPolicy:
    """The network's version is the action it takes, so each action tells which version played."""

    @staticmethod
    def check(next_version, *args, n_batches=4, batch_size=3, seconds=0.0, **kwargs):
        make = partial(toy.ScriptedEnv, lengths=(1, 9, 2), n_actions=N_ACTIONS)
        with make_loader(make, *args, batch_size=batch_size, **kwargs) as loader:
            for version, batch in enumerate(itertools.islice(loader, n_batches)):
                time.sleep(seconds)
                assert set(batch.actions.tolist()) == {version % N_ACTIONS}
                assert batch.num_episodes == batch_size
                next_version(version + 1)

    @pytest.mark.parametrize("agent_type", [PolicyAgent, toy.Agent])
    @pytest.mark.parametrize("num_workers", WORKERS)
    def test_every_batch_is_played_whole_by_the_latest_parameters(self, num_workers, agent_type):
        net = toy.VersionNet(N_ACTIONS)
        self.check(net.become, net, n_batches=12, batch_size=5, num_workers=num_workers, agent_type=agent_type)

    @pytest.mark.parametrize("num_workers", WORKERS)
    def test_also_when_the_learner_is_slow(self, num_workers):
        """A loader that ran ahead would have the next batch ready before the update."""
        net = toy.VersionNet(N_ACTIONS)
        self.check(net.become, net, seconds=0.3, n_batches=3, num_workers=num_workers)

    @pytest.mark.parametrize("num_workers", WORKERS)
    def test_a_network_that_numpy_plays_is_followed_through_an_optimizer(self, num_workers):
        net = nn.Linear(2, N_ACTIONS)
        optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
        wanted = torch.eye(N_ACTIONS) * 1000.0
        nn.init.zeros_(net.weight)
        net.bias.data.copy_(wanted[0])

        def next_version(version):
            net.bias.grad = net.bias.detach() - wanted[version % N_ACTIONS]
            optimizer.step()

        self.check(next_version, net, num_workers=num_workers)

    @pytest.mark.parametrize("num_workers", WORKERS)
    def test_before_batch_may_bring_the_learners_parameters(self, num_workers):
        """It is called before a batch is played, with the number of episodes so far."""
        learner, actor, calls = toy.VersionNet(N_ACTIONS), toy.VersionNet(N_ACTIONS), []

        def before_batch(episodes):
            calls.append(episodes)
            actor.become(int(learner.version))

        self.check(learner.become, actor, num_workers=num_workers, before_batch=before_batch, first_episode=6)
        assert calls == [6, 9, 12, 15]


class TestBatches:
    @pytest.mark.parametrize("num_workers", WORKERS)
    def test_are_the_episodes_of_consecutive_numbers(self, num_workers):
        with random_loader(num_workers=num_workers, batch_size=3, seed=7, first_episode=5) as loader:
            batches = take(loader, 2)
            net = loader._make_actors.args[1]
        seeds = [episode_seed(7, number) for number in range(5, 11)]
        episodes = collect_in_order(PolicyAgent, net, seeds, make_env=toy.RandomEnv)
        expected = [TrainBatch.from_episodes(part, 0.9) for part in (episodes[:3], episodes[3:])]
        assert same_batches(batches, expected)
        assert loader.next_episode == 11

    def test_hold_discounted_returns(self):
        with make_loader(partial(toy.ScriptedEnv, lengths=(3, 1)), nn.Linear(2, 2), batch_size=1, gamma=0.5) as loader:
            first, second = take(loader, 2)
        assert first.q_vals.tolist() == [1 + 0.5 * (2 + 0.5 * 3), 2 + 0.5 * 3, 3]
        assert second.q_vals.tolist() == [11]
        assert (first.total_rewards.tolist(), second.total_rewards.tolist()) == ([6], [11])

    @needs_fork
    def test_a_worker_plays_its_share_of_one_without_a_break(self, monkeypatch):
        """So it sends it in one message. One that found the batch's episodes one by one would begin with too few."""
        messages, next_message = [], engine._Workers._next
        monkeypatch.setattr(engine._Workers, "_next", lambda workers: messages.append(1) or next_message(workers))
        with random_loader(num_workers=2, batch_size=8) as loader:
            take(loader, 50)
        assert len(messages) <= 2 * 50

    @needs_fork
    @pytest.mark.skipif(not hasattr(rl_pg, "build_mlp"), reason="another solution than the project's")
    def test_workers_begin_the_next_before_it_is_asked_for(self):
        """They reset for it, which takes time but no parameters, while the learner learns."""
        resets = mp.get_context("fork").Value("i", 0)

        class Counting(toy.ScriptedEnv):
            def reset(self, **kwargs):
                with resets.get_lock():
                    resets.value += 1
                return super().reset(**kwargs)

        with make_loader(Counting, nn.Linear(2, 2), batch_size=4, num_workers=2) as loader:
            take(loader, 1)
            while resets.value < 4 + 4 + 4:  # each of the four agents has been made, has played, and has begun again
                time.sleep(0.01)  # the time limit ends this
            take(loader, 1)
            while resets.value < 4 + 4 + 4 + 4:
                time.sleep(0.01)

    @pytest.mark.parametrize("bad", [{"reward": math.nan}, {"observation": math.inf}], ids=str)
    def test_an_environment_that_gives_no_numbers(self, bad):
        loader = make_loader(partial(toy.BadValueEnv, **bad), toy.VersionNet(2))
        with pytest.raises(ValueError, match="hold nan or inf: check the environment"):
            take(loader, 1)


class TestRepeatable:
    @staticmethod
    def learn(num_workers, net, agent_type, make_env=toy.RandomEnv, seed=3, n_batches=4):
        """Train for some batches; return these and the parameters at the end."""
        batches = []
        kwargs = {"seed": seed, "num_workers": num_workers, "agent_type": agent_type}
        with make_loader(make_env, net, **kwargs) as loader:
            optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
            for batch in itertools.islice(loader, n_batches):
                output = net(batch.states)
                logits = output[0] if isinstance(output, tuple) else output
                log_pi = torch.log_softmax(logits, 1)[torch.arange(len(batch)), batch.actions]
                optimizer.zero_grad()
                (-(batch.q_vals * log_pi).mean() + sum(p.sum() for p in net.parameters()) * 1e-3).backward()
                optimizer.step()
                batches.append(batch)
        return batches, net.state_dict()

    @staticmethod
    def with_seed(make_net):
        torch.manual_seed(1)
        return make_net()

    @pytest.mark.parametrize("kind", toy.NETS)
    @pytest.mark.parametrize("num_workers", WORKERS[1:3])
    def test_whatever_the_number_of_workers(self, num_workers, kind):
        """And whatever the network, its dropout included, which is off while it plays and on while it learns."""
        agent_type = AACPolicyAgent if kind == "shared trunk" else PolicyAgent
        runs = []
        for n in (num_workers, 0):
            net = self.with_seed(lambda: toy.NETS[kind](3, N_ACTIONS))
            runs.append(self.learn(n, net, agent_type))
            assert net.training
        (batches, weights), (batches_alone, weights_alone) = runs
        assert same_batches(batches, batches_alone)
        assert toy.same_weights(weights, weights_alone)

    @pytest.mark.parametrize("agent_type", [PolicyAgent, toy.Agent, toy.EagerAgent])
    @pytest.mark.parametrize("num_workers", WORKERS[1:3])
    def test_whatever_the_agent_and_the_environment(self, num_workers, agent_type):
        runs = []
        for n in (num_workers, 0):
            net = self.with_seed(lambda: nn.Linear(4, 2))
            runs.append(self.learn(n, net, agent_type, partial(make_env, "CartPole-v1"))[0])
        assert same_batches(*runs)

    def test_another_seed_gives_other_batches(self):
        with random_loader(seed=3) as loader, random_loader(seed=4) as other:
            assert not same_batches(take(loader, 1), take(other, 1))

    @pytest.mark.parametrize("agent_type", [PolicyAgent, toy.Agent])
    def test_does_not_depend_on_the_global_random_state(self, agent_type):
        runs = []
        for disturbance in (11, 12):
            with random_loader(agent_type=agent_type) as loader:
                torch.manual_seed(disturbance)
                runs.append(take(loader, 2))
        assert same_batches(*runs)

    @pytest.mark.parametrize("num_workers", WORKERS)
    def test_iterating_again_goes_on(self, num_workers):
        with random_loader(num_workers=num_workers) as once, random_loader(num_workers=num_workers) as twice:
            assert same_batches(take(once, 3), take(twice, 2) + take(twice, 1))


@pytest.fixture
def few_files():
    """No more than ten further files can be open."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened[0] + 100, limits[1]))
    with suppress(OSError):
        while True:
            opened.append(os.dup(opened[0]))
    for descriptor in opened[:10]:
        os.close(descriptor)
    yield
    for descriptor in opened[10:]:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@needs_fork
class TestEndsCleanly:
    @pytest.mark.parametrize("num_workers", [0, 1, 3])
    def test_with_statement(self, num_workers):
        with toy.nothing_left_behind():
            with random_loader(num_workers=num_workers) as loader:
                batches = take(loader, 2)
            assert mp.active_children() == []
            del batches

    def test_close_twice(self):
        with toy.nothing_left_behind():
            loader = random_loader(num_workers=2)
            take(loader, 1)
            loader.close()
            loader.close()

    def test_close_before_the_first_batch(self):
        with toy.nothing_left_behind():
            random_loader(num_workers=2).close()

    def test_an_exception_in_the_learner(self):
        def learn():
            with random_loader(num_workers=2) as loader:
                take(loader, 1)
                raise LookupError("the learner's own")

        with ends_by(LookupError, "the learner's own"):
            learn()

    def test_batches_outlive_the_loader(self):
        """Their memory is not the workers'."""
        with random_loader(num_workers=2) as loader, random_loader() as alone:
            batches, expected = take(loader, 2), take(alone, 2)
        assert same_batches(batches, expected)

    def test_many_loaders_one_after_the_other(self):
        with toy.nothing_left_behind():
            for _ in range(5):
                with random_loader(num_workers=2) as loader:
                    take(loader, 1)

    @pytest.mark.parametrize(("num_workers", "kind"), [(0, ZeroDivisionError), (2, RuntimeError)])
    def test_an_error_in_the_environment_reaches_the_caller(self, num_workers, kind):
        loader = make_loader(partial(toy.FailingEnv, lengths=(4,)), nn.Linear(2, 2), num_workers=num_workers)
        with ends_by(kind, "the thruster divided by zero"), loader:
            take(loader, 1)

    def test_an_error_in_making_the_agent_reaches_the_caller(self):
        loader = make_loader(partial(_raise, LookupError("no such agent")), nn.Linear(2, 2), num_workers=2)
        with ends_by(LoaderWorkerError, "no such agent"), loader:
            take(loader, 1)

    def test_a_worker_that_exits_is_named(self):
        env_fn = partial(toy.DyingEnv, os.getpid(), lengths=(4,))
        loader = make_loader(env_fn, nn.Linear(2, 2), num_workers=2)
        with ends_by(LoaderWorkerError, r"(?i)worker \d.*(exit|status)\D*3"), loader:
            take(loader, 1)

    def test_a_worker_that_is_killed_is_named(self, tmp_path):
        make = partial(toy.SleepyEnv, tmp_path / "started", signal.SIGKILL)
        with (
            ends_by(LoaderWorkerError, r"worker \d.*signal 9"),
            make_loader(make, nn.Linear(2, 2), num_workers=1) as loader,
        ):
            take(loader, 1)

    @needs_fork
    def test_too_few_files_may_be_open_for_workers(self, few_files):
        with ends_by(OSError, r"too few files may be open .*num_workers=0"), random_loader(num_workers=2) as loader:
            take(loader, 1)

    @needs_fork
    def test_workers_that_were_started_end_where_others_could_not_be(self, monkeypatch):
        start, started = mp.get_context("fork").Process.start, []

        def start_one(process):
            if started:
                raise BlockingIOError("no more processes")
            started.append(process)
            start(process)

        monkeypatch.setattr(mp.get_context("fork").Process, "start", start_one)
        with pytest.raises(BlockingIOError), random_loader(num_workers=2) as loader:
            take(loader, 1)
        started[0].join(10)
        assert started[0].exitcode is not None

    def test_a_worker_killed_between_batches_is_named(self):
        def play_kill_play(loader):
            take(loader, 1)
            os.kill(mp.active_children()[0].pid, signal.SIGKILL)
            take(loader, 1)

        loader = random_loader(num_workers=1)
        with ends_by(LoaderWorkerError, r"(?i)worker \d.*(kill|signal\D*9)"), loader:
            play_kill_play(loader)

    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_ctrl_c_while_a_batch_is_played(self, num_workers, tmp_path):
        make = partial(toy.SleepyEnv, tmp_path / "started", signal.SIGINT, os.getpid())
        loader = make_loader(make, nn.Linear(2, 2), num_workers=num_workers)
        with toy.nothing_left_behind(), pytest.raises(KeyboardInterrupt), loader:
            take(loader, 1)


@needs_fork
def test_ctrl_c_at_the_terminal(tmp_path):
    """There it reaches the workers too. They end without a word, and the learner with KeyboardInterrupt."""
    script = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parents[3])!r})
        from functools import partial
        from pathlib import Path
        from torch import nn
        from hw4.rollout.loader import OnPolicyLoader
        from tests import toy

        make_env = partial(toy.SleepyEnv, Path("started"))
        try:
            with toy.nothing_left_behind():
                kwargs = dict(seed=0, num_workers=2, make_env=make_env)
                with OnPolicyLoader(toy.Agent, nn.Linear(2, 2), 4, 0.9, **kwargs) as loader:
                    next(iter(loader))
        except KeyboardInterrupt:
            print("interrupted")
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        while not (tmp_path / "started").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=40)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert output == "interrupted\n"
    assert errors == ""
    assert process.returncode == 0


@needs_fork
@pytest.mark.parametrize("late", [0, 1], ids=["at work", "while the second begins"])
def test_workers_end_when_their_learner_is_killed(tmp_path, late):
    script = f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parents[3])!r})
        from functools import partial
        from pathlib import Path
        from torch import nn
        from hw4.rollout import loader as engine
        from tests import toy

        def prepare_worker(closing, worker_id, prepare=engine._prepare_worker):
            time.sleep({late} * worker_id)
            prepare(closing, worker_id)

        engine._prepare_worker = prepare_worker
        loader = engine.OnPolicyLoader(
            toy.Agent, nn.Linear(3, 3), 4, 0.9, seed=0, num_workers=2, make_env=toy.RandomEnv
        )
        next(iter(loader))
        Path("pids").write_text(" ".join(map(str, toy.child_processes())))
        Path("ready").touch()
        time.sleep(100)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, start_new_session=True)
    try:
        while not (tmp_path / "ready").exists():
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    workers = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(workers) == 2
    try:
        while any(is_running(pid) for pid in workers):  # the time limit ends this
            time.sleep(0.1)
    finally:
        for pid in filter(is_running, workers):
            os.kill(pid, signal.SIGKILL)


def is_running(pid):
    """Whether a process is there and alive; one that has ended may stay as a zombie where nobody waits for orphans."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _raise(error):
    raise error
