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
# Each is set to what leaves it out. With actions of one step, the discount of a step is the one that cpg has.
PIECES: tuple[tuple[str, ...], ...] = (
    (),
    ("action_repeat=1", "gamma=0.985", "gamma_end=0.9925"),
    ("gamma=0.985",),
    ("learn_rate_end=0.006",),
    ("beta_end=0.0",),
    ("initial_logits=[0.0, 0.0, 0.0, 0.0]",),
    ("orthogonal=False",),
    ("activation=relu",),
    ("gamma=0.985", "activation=relu"),  # the pieces that look least needed, at once
    ("gamma=0.985", "orthogonal=False", "activation=relu"),
)
PIECE_OF_AAC = ("value_scale=1.0",)


def main() -> None:
    """Do the runs that are missing, seed by seed, and show what came out."""
    runs = []
    for seed in SEEDS:
        runs += [run for piece in PIECES for run in runs_of(["cpg", "aac"], [seed], piece)]
        runs += runs_of(["aac"], [seed], PIECE_OF_AAC)
    records = sweep(runs, OUT)
    print(table(records))
    save(plot_ablation(records), Path("docs/ablation.png"), dpi=80)


if __name__ == "__main__":
    main()
