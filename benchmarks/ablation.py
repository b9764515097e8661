"""What each piece of the recipe is worth: `cpg` and `aac` with one piece left out, on 20 seeds that it was tuned on.

    python benchmarks/ablation.py

The records go to results/ablation.json. Started again, it goes on with the runs that are missing. The table is printed,
and drawn into docs/ablation.png.
"""

from pathlib import Path

from hw4.study.plots import plot_ablation, save
from hw4.study.sweep import runs_of, sweep, table

OUT = Path("results/ablation.json")
SEEDS = range(20)
PIECES: tuple[tuple[str, ...], ...] = (
    (),
    ("action_repeat=1", "gamma=0.99"),  # of a step, what the recipe's is of a decision
    ("learn_rate_end=0.006",),
    ("beta_end=0.0",),
    ("beta=0.0", "beta_end=0.0"),
    ("initial_logits=[0.0, 0.0, 0.0, 0.0]",),
    ("orthogonal=False",),
    ("activation=relu",),
)
PIECES_OF_AAC = (("adam_beta2=0.999",), ("value_scale=1.0",))


def main() -> None:
    """Do the runs that are missing, and show what came out."""
    runs = [run for piece in PIECES for run in runs_of(["cpg", "aac"], SEEDS, piece)]
    runs += [run for piece in PIECES_OF_AAC for run in runs_of(["aac"], SEEDS, piece)]
    records = sweep(runs, OUT)
    print(table(records))
    save(plot_ablation(records), Path("docs/ablation.png"))


if __name__ == "__main__":
    main()
