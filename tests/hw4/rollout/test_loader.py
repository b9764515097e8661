"""OnPolicyLoader: on-policy, the same whatever the number of workers, and clean when it ends, however it ends."""

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from hw4.rl_ac import AACPolicyAgent, AACPolicyNet
from hw4.rl_data import TrainBatch
from hw4.rl_pg import PolicyAgent, PolicyNet, VanillaPolicyGradientLoss
from hw4.rollout.loader import OnPolicyLoader, _Workers
from tests import toy

needs_fork = pytest.mark.skipif("fork" not in mp.get_all_start_methods(), reason="workers are started by fork")
WORKERS = [0, *(pytest.param(n, marks=needs_fork) for n in (1, 2, 3, 4))]
N_ACTIONS = 3

pytestmark = [
    pytest.mark.usefixtures("time_limit"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),  # more workers than processors, on purpose
]


def make_loader(env_fn, net, batch_size=4, gamma=0.9, agent_type=PolicyAgent, **kwargs):
    agent_fn = partial(toy.make_agent, agent_type, env_fn, net.share_memory())
    return OnPolicyLoader(agent_fn, batch_size, gamma, **{"seed": 0, **kwargs})


def random_loader(seed=0, net=None, **kwargs):
    """A loader over environments in which everything is drawn at random, and a network that draws its actions."""
    torch.manual_seed(0)
    return make_loader(toy.RandomEnv, net or PolicyNet(3, N_ACTIONS, hidden_layers=(8,)), seed=seed, **kwargs)


def take(loader, n):
    return list(itertools.islice(loader, n))


def same_batches(batches, others):
    return len(batches) == len(others) and all(
        torch.equal(a, b) for x, y in zip(batches, others, strict=True) for a, b in zip(x, y, strict=True)
    )


def interrupt_once(started: Path) -> threading.Thread:
    """Press Ctrl-C, for this process alone, as soon as a file is there."""

    def press():
        while not started.exists():
            time.sleep(0.02)
        time.sleep(0.2)  # so that the main thread is waiting again
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press, daemon=True)
    thread.start()
    return thread


class TestOnPolicy:
    @pytest.mark.parametrize("num_workers", WORKERS)
    def test_every_batch_is_played_whole_by_the_latest_parameters(self, num_workers):
        """The network's version is the action it takes, so each action tells which version played."""
        net = toy.VersionNet(N_ACTIONS)
        env_fn = partial(toy.ScriptedEnv, lengths=(1, 9, 2), n_actions=N_ACTIONS)
        with make_loader(env_fn, net, batch_size=5, num_workers=num_workers) as loader:
            for version, batch in enumerate(itertools.islice(loader, 12)):
                assert set(batch.actions.tolist()) == {version % N_ACTIONS}
                assert batch.num_episodes == 5
                with torch.no_grad():
                    net.version += 1

    @pytest.mark.parametrize("num_workers", WORKERS)
    def test_also_when_the_learner_is_slow(self, num_workers):
        """A loader that ran ahead would have the next batch ready before the update."""
        net = toy.VersionNet(N_ACTIONS)
        env_fn = partial(toy.ScriptedEnv, lengths=(2,), n_actions=N_ACTIONS)
        with make_loader(env_fn, net, batch_size=2, num_workers=num_workers) as loader:
            for version, batch in enumerate(itertools.islice(loader, 3)):
                time.sleep(0.3)
                assert set(batch.actions.tolist()) == {version % N_ACTIONS}
                with torch.no_grad():
                    net.version += 1

    @pytest.mark.parametrize("num_workers", WORKERS)
    def test_a_special_network_is_followed_through_an_optimizer(self, num_workers):
        net = PolicyNet(2, N_ACTIONS, hidden_layers=())
        layer = next(m for m in net.modules() if isinstance(m, nn.Linear))
        nn.init.zeros_(layer.weight)
        optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
        wanted = torch.eye(N_ACTIONS) * 1000.0
        with torch.no_grad():
            layer.bias.copy_(wanted[0])
        env_fn = partial(toy.ScriptedEnv, lengths=(3,), n_actions=N_ACTIONS)
        with make_loader(env_fn, net, batch_size=3, num_workers=num_workers) as loader:
            for k, batch in enumerate(itertools.islice(loader, 4)):
                assert set(batch.actions.tolist()) == {k % N_ACTIONS}
                layer.bias.grad = layer.bias.detach() - wanted[(k + 1) % N_ACTIONS]
                optimizer.step()

    @pytest.mark.parametrize("num_workers", WORKERS)
    def test_publish_is_called_before_each_batch(self, num_workers):
        """The learner's own network is elsewhere; publishing brings it to the network that acts."""
        learner, actor = toy.VersionNet(N_ACTIONS), toy.VersionNet(N_ACTIONS)
        published = []

        def publish():
            published.append(int(learner.version))
            with torch.no_grad():
                actor.version.copy_(learner.version)

        env_fn = partial(toy.ScriptedEnv, lengths=(2,), n_actions=N_ACTIONS)
        with make_loader(env_fn, actor, batch_size=2, num_workers=num_workers, publish=publish) as loader:
            for version, batch in enumerate(itertools.islice(loader, 4)):
                assert published == list(range(version + 1))
                assert set(batch.actions.tolist()) == {version % N_ACTIONS}
                with torch.no_grad():
                    learner.version += 1


class TestBatches:
    @pytest.mark.parametrize("num_workers", WORKERS)
    def test_are_train_batches_of_the_size_asked_for(self, num_workers):
        with random_loader(num_workers=num_workers, batch_size=3) as loader:
            for batch in take(loader, 3):
                assert isinstance(batch, TrainBatch)
                assert batch.num_episodes == 3
                assert batch.states.shape == (len(batch), 3)

    @needs_fork
    def test_a_worker_plays_its_share_of_one_without_a_break(self, monkeypatch):
        """So it sends it in one message. One that found the batch's episodes one by one would begin with too few."""
        messages, next_message = [], _Workers._next
        monkeypatch.setattr(_Workers, "_next", lambda workers: messages.append(1) or next_message(workers))
        with random_loader(num_workers=2, batch_size=8) as loader:
            take(loader, 50)
        assert len(messages) <= 2 * 50

    @needs_fork
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

    def test_hold_discounted_returns(self):
        env_fn = partial(toy.ScriptedEnv, lengths=(3, 1))
        with make_loader(env_fn, nn.Linear(2, 2), batch_size=1, gamma=0.5) as loader:
            first, second = take(loader, 2)
        assert first.q_vals.tolist() == [1 + 0.5 * (2 + 0.5 * 3), 2 + 0.5 * 3, 3]
        assert second.q_vals.tolist() == [11]
        assert (first.total_rewards.tolist(), second.total_rewards.tolist()) == ([6], [11])

    @pytest.mark.parametrize("num_workers", WORKERS)
    def test_iterating_again_goes_on(self, num_workers):
        with random_loader(num_workers=num_workers) as once, random_loader(num_workers=num_workers) as twice:
            assert same_batches(take(once, 3), take(twice, 2) + take(twice, 1))


class TestReproducible:
    @staticmethod
    def learn(num_workers, agent_type=PolicyAgent, seed=3, n_batches=6):
        """Train for some batches; return these and the parameters at the end."""
        torch.manual_seed(1)
        net = (AACPolicyNet if agent_type is AACPolicyAgent else PolicyNet)(3, N_ACTIONS, hidden_layers=(8,))
        batches = []
        with random_loader(seed=seed, net=net, num_workers=num_workers, agent_type=agent_type) as loader:
            optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
            for batch in itertools.islice(loader, n_batches):
                scores = net(batch.states)
                loss, _ = VanillaPolicyGradientLoss()(batch, scores[0] if isinstance(scores, tuple) else scores)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                batches.append(batch)
        return batches, [p.detach().clone() for p in net.parameters()]

    @pytest.mark.parametrize("agent_type", [PolicyAgent, AACPolicyAgent])
    @pytest.mark.parametrize("num_workers", WORKERS)
    def test_whatever_the_number_of_workers(self, num_workers, agent_type):
        batches, parameters = self.learn(num_workers, agent_type)
        batches_alone, parameters_alone = self.learn(0, agent_type)
        assert same_batches(batches, batches_alone)
        assert all(torch.equal(p, q) for p, q in zip(parameters, parameters_alone, strict=True))

    def test_another_seed_gives_other_batches(self):
        assert not same_batches(self.learn(0, seed=3)[0], self.learn(0, seed=4)[0])

    def test_episodes_of_a_batch_differ(self):
        with random_loader() as loader:
            batch = next(iter(loader))
        assert len(set(batch.total_rewards.tolist())) == 4

    def test_does_not_depend_on_the_global_random_state(self):
        runs = []
        for disturbance in (11, 12):
            with random_loader() as loader:
                torch.manual_seed(disturbance)
                runs.append(take(loader, 2))
        assert same_batches(*runs)

    @pytest.mark.parametrize("num_workers", WORKERS)
    def test_an_episode_depends_on_its_number_only(self, num_workers):
        """Not on the batch it is in: twos and fours are cuts of the same sequence of episodes."""
        with random_loader(batch_size=2) as twos, random_loader(batch_size=4, num_workers=num_workers) as fours:
            of_twos, of_fours = take(twos, 4), take(fours, 2)
        for i in range(4):
            joined = [torch.cat([getattr(b, name) for b in of_twos]) for name in ("states", "actions", "q_vals")]
            split = [torch.cat([getattr(b, name) for b in of_fours]) for name in ("states", "actions", "q_vals")]
            assert torch.equal(joined[i % 3], split[i % 3])

    @pytest.mark.parametrize("num_workers", WORKERS)
    def test_first_episode_goes_on_with_an_earlier_run(self, num_workers):
        with random_loader() as whole, random_loader(num_workers=num_workers, first_episode=8) as rest:
            assert same_batches(take(whole, 3)[2:], take(rest, 1))


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

        with toy.nothing_left_behind(), pytest.raises(LookupError, match="the learner's own"):
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
        with toy.nothing_left_behind(), pytest.raises(kind, match="the thruster divided by zero"), loader:
            take(loader, 1)

    def test_an_error_in_making_the_agent_reaches_the_caller(self):
        loader = OnPolicyLoader(partial(_raise, LookupError("no such agent")), 2, 0.9, seed=0, num_workers=2)
        with toy.nothing_left_behind(), pytest.raises(RuntimeError, match="no such agent"), loader:
            take(loader, 1)

    def test_a_worker_that_exits_is_named(self):
        env_fn = partial(toy.DyingEnv, os.getpid(), lengths=(4,))
        loader = make_loader(env_fn, nn.Linear(2, 2), num_workers=2)
        with toy.nothing_left_behind(), pytest.raises(RuntimeError, match=r"(?i)worker \d.*(exit|status)\D*3"), loader:
            take(loader, 1)

    def test_a_worker_that_is_killed_is_named(self, tmp_path):
        started = tmp_path / "started"

        def kill():
            while not started.exists():
                time.sleep(0.02)
            os.kill(mp.active_children()[0].pid, signal.SIGKILL)

        killer = threading.Thread(target=kill, daemon=True)
        loader = make_loader(partial(toy.SleepyEnv, started), nn.Linear(2, 2), num_workers=1)
        killer.start()
        with toy.nothing_left_behind(), pytest.raises(RuntimeError, match=r"(?i)worker \d.*(kill|signal\D*9)"), loader:
            take(loader, 1)
        killer.join()

    def test_a_worker_killed_between_batches_is_named(self):
        def play_kill_play(loader):
            take(loader, 1)
            os.kill(mp.active_children()[0].pid, signal.SIGKILL)
            take(loader, 1)

        loader = random_loader(num_workers=1)
        with toy.nothing_left_behind(), pytest.raises(RuntimeError, match=r"(?i)worker \d.*(kill|signal\D*9)"), loader:
            play_kill_play(loader)

    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_ctrl_c_while_a_batch_is_played(self, num_workers, tmp_path):
        started = tmp_path / "started"
        loader = make_loader(partial(toy.SleepyEnv, started), nn.Linear(2, 2), num_workers=num_workers)
        presser = interrupt_once(started)
        with toy.nothing_left_behind(), pytest.raises(KeyboardInterrupt), loader:
            take(loader, 1)
        presser.join()


@needs_fork
def test_ctrl_c_at_the_terminal(tmp_path):
    """There it reaches the workers too. They end without a word, and the learner with KeyboardInterrupt."""
    script = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parents[3])!r})
        from functools import partial
        from pathlib import Path
        from torch import nn
        from hw4.rollout.loader import OnPolicyLoader, _Workers
        from hw4.rl_pg import PolicyAgent
        from tests import toy

        agent_fn = partial(toy.make_agent, PolicyAgent, partial(toy.SleepyEnv, Path("started")), nn.Linear(2, 2))
        try:
            with toy.nothing_left_behind():
                with OnPolicyLoader(agent_fn, 4, 0.9, seed=0, num_workers=2) as loader:
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
def test_workers_end_when_their_learner_is_killed(tmp_path):
    script = f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parents[3])!r})
        from functools import partial
        from pathlib import Path
        from torch import nn
        from hw4.rollout.loader import OnPolicyLoader, _Workers
        from hw4.rl_pg import PolicyAgent
        from tests import toy

        agent_fn = partial(toy.make_agent, PolicyAgent, toy.RandomEnv, nn.Linear(3, 3))
        loader = OnPolicyLoader(agent_fn, 4, 0.9, seed=0, num_workers=2)
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
