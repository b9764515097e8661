"""The toys, against what can be computed by hand."""

import numpy as np
import pytest

from hw4.study import toys


class TestArms:
    def test_the_exact_gradient_is_that_of_the_notebook(self):
        assert toys.arms_gradient(0.0) == 0.5

    @pytest.mark.parametrize(
        ("baseline", "more", "values"), [(0, 0, {-0.5, 1.5}), (2, 0, {0.5}), (0, 100, {-50.5, 51.5})]
    )
    def test_samples_by_hand(self, baseline, more, values):
        assert set(toys.sample_arms(0.0, baseline, 50, np.random.default_rng(0), more)) == values

    def test_samples_have_the_gradient_for_mean_whatever_the_baseline(self):
        for baseline in (0.0, 2.0, 5.0):
            samples = toys.sample_arms(0.7, baseline, 200_000, np.random.default_rng(1))
            assert samples.mean() == pytest.approx(toys.arms_gradient(0.7), abs=4 * samples.std() / 200_000**0.5 + 1e-9)

    def test_the_first_update_by_hand(self):
        """The first baseline is the first reward, so the first update with one is none."""
        first, second = toys.train_arms(True, seed=0)[:2]
        assert first == second == 0.5
        _, second = toys.train_arms(False, seed=0)[:2]
        moved = {float(toys.sigmoid(toys.ARM_LEARN_RATE * gradient)) for gradient in (-0.5, 1.5)}
        assert second in moved

    def test_what_both_rewards_have_on_top_does_nothing_to_a_run_with_a_baseline(self):
        assert toys.train_arms(True, 3) == pytest.approx(toys.train_arms(True, 3, more=100.0))

    def test_without_a_baseline_it_commits_to_the_first_arm_that_it_draws(self):
        for seed in range(5):
            course = toys.train_arms(False, seed, more=100.0)
            assert (course[-1] > 0.9) == (course[1] > 0.5)
            assert not 0.1 < course[-1] < 0.9

    def test_the_exact_run_climbs(self):
        course = toys.train_arms_exactly()
        assert len(course) == toys.ARM_UPDATES
        assert (np.diff(course) > 0).all()

    def test_the_argmax_makes_certain_what_was_more_probable(self):
        """By hand: the worse arm is taken, and pays 1; theta goes down by 0.1 p. With a baseline it does not go."""
        p = float(toys.sigmoid(-0.2))
        without = toys.train_arms(False, seed=0, theta=-0.2, greedy=True)
        assert without[:2] == pytest.approx([p, float(toys.sigmoid(-0.2 - 0.1 * p))])
        assert (np.diff(without) < 0).all()
        assert toys.train_arms(True, seed=0, theta=-0.2, greedy=True) == pytest.approx([p] * toys.ARM_UPDATES)

    def test_return_and_loss_by_hand(self):
        assert toys.arms_return(0.25) == 1.5
        assert toys.arms_loss(0.5) == pytest.approx(2 * np.log(2))
        assert toys.arms_loss(0.5, more=-4) == pytest.approx(-2 * np.log(2))

    @pytest.mark.parametrize("delta", [0.5, 0.1])
    def test_where_the_critic_settles(self, delta):
        """Without detach the derivative, log(1/2) + 2 delta (v - 2), is zero above the mean reward of 2."""
        assert toys.settled_critic(delta, detached=True) == pytest.approx(2)
        assert toys.settled_critic(delta, detached=False) == pytest.approx(2 + np.log(2) / (2 * delta))


class TestCorridor:
    @pytest.mark.parametrize("p", [0.05, 0.5, 0.59, 0.95])
    def test_value_is_the_solution_of_the_equations(self, p):
        stay = 1 - p
        transitions = np.array([[stay, p, 0], [p, 0, stay], [0, stay, 0]])
        expected = np.linalg.solve(np.eye(3) - transitions, [-1, -1, -1])[0]
        assert toys.corridor_value(p) == pytest.approx(expected)

    def test_values_of_the_book(self):
        """Sutton & Barto, example 13.1: -82 and -44 for the two greedy policies with epsilon 0.1; at best -11.6."""
        assert toys.corridor_value(0.05) == pytest.approx(-82, abs=0.5)
        assert toys.corridor_value(0.95) == pytest.approx(-44, abs=0.5)
        assert toys.corridor_value(toys.CORRIDOR_BEST) == pytest.approx(-11.6, abs=0.1)
        assert toys.corridor_value(toys.CORRIDOR_BEST) > max(toys.corridor_value(np.array([0.55, 0.62])))

    def test_episodes_have_the_exact_value_and_gradient_for_means(self):
        p, runs, h = 0.4, 20_000, 1e-4
        episode = toys.play_corridor(np.full(runs, p), np.random.default_rng(0))
        theta = np.log(p / (1 - p))
        slope = (toys.corridor_value(toys.sigmoid(theta + h)) - toys.corridor_value(toys.sigmoid(theta - h))) / (2 * h)
        for sampled, expected in (
            (-episode.length, toys.corridor_value(p)),
            (episode.weighted, slope),
            (episode.score, 0),
        ):
            assert sampled.mean() == pytest.approx(float(expected), abs=4 * sampled.std() / runs**0.5)

    def test_a_baseline_gets_there_sooner(self, monkeypatch):
        monkeypatch.setattr(toys, "CORRIDOR_EPISODES", 100)
        plain, with_it = (
            toys.train_corridor(rate, name != "REINFORCE", 0) for name, rate in toys.CORRIDOR_LEARN_RATES.items()
        )
        assert plain[0] == with_it[0] == pytest.approx(-82, abs=0.5)
        assert plain[0] < plain[-1] < with_it[-1] < -11.6

    def test_fresh_batches_come_to_the_best_policy_and_stay(self):
        late = toys.train_corridor_stale(1.0, age=0, seed=2)[-20:]
        assert toys.corridor_value(late).mean() == pytest.approx(toys.corridor_value(toys.CORRIDOR_BEST), abs=0.5)

    def test_old_ones_swing_from_end_to_end(self):
        course = toys.train_corridor_stale(1.0, age=4, seed=2)
        assert course[:5] == pytest.approx([toys.CORRIDOR_START] * 5)  # nothing has arrived yet
        assert course[10:].min() < 0.2
        assert course[10:].max() > 0.9

    def test_with_short_steps_their_age_matters_little(self):
        late = toys.train_corridor_stale(0.3, age=4, seed=2)[-20:]
        assert toys.corridor_value(late).mean() == pytest.approx(toys.corridor_value(toys.CORRIDOR_BEST), abs=0.5)
