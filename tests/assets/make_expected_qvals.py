"""Make part1_expected_qvals.npy: the q-values of 100 fixed rewards, summed as the definition is written.

    q_t = sum over t' >= t of gamma^(t' - t) r_{t' + 1},  gamma = 0.9

Run it from anywhere; it writes beside itself.
"""

from pathlib import Path

import numpy as np

GAMMA = 0.9


def main() -> None:
    # The published rewards come from NumPy's legacy stream.
    rewards = np.random.RandomState(42).randint(-10, 10, 100)
    n = len(rewards)
    q_vals = np.zeros(n, dtype=np.float64)
    for t in range(n):
        for later in range(t, n):
            q_vals[t] += GAMMA ** (later - t) * rewards[later]
    np.save(Path(__file__).with_name("part1_expected_qvals.npy"), q_vals)


if __name__ == "__main__":
    main()
