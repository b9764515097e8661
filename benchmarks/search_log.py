"""Makes the table of the earlier search, docs/search_log.md, of its log, results/search.json: no arguments."""

import json
from pathlib import Path

import numpy as np
from tabulate import tabulate

HEADER = """# The earlier search

Made by `python benchmarks/search_log.py` from `results/search.json`, which holds each run with its overrides. A run
holds each action for one step, and most use schedules that are gone. Seeds are 0 to 9, but for some of `Z5`, `nb1`,
`nL12` and `nQ11`. What came of it is in [search.md](search.md).

"""


def main() -> None:
    """Write the table: a row for each variant."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for run in json.loads(Path("results/search.json").read_text())["runs"]:
        groups.setdefault((run["variant"], run["configuration"]), []).append(run)
    rows = []
    for (variant, configuration), runs in groups.items():
        best = [run["best_mean_reward"] for run in runs]
        rows.append(
            {
                "variant": variant,
                "configuration": configuration,
                "episodes": runs[0]["episodes"],
                "reached 200": f"{sum(max(run['best_mean_reward'], 0) >= 200 for run in runs)} of {len(runs)}",
                "median best": f"{np.median(best):.0f}",
                "range": f"{min(best):.0f} to {max(best):.0f}",
            }
        )
    Path("docs/search_log.md").write_text(HEADER + tabulate(rows, headers="keys", tablefmt="github") + "\n")


if __name__ == "__main__":
    main()
