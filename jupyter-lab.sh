#!/usr/bin/env bash
# Start JupyterLab from the project's environment, in the project's root; further arguments go to JupyterLab.
# Without a screen (on a server, under Slurm, inside xvfb-run) it opens no browser and listens on all of the machine's
# addresses. The URL that it prints holds the access token and can then be opened from elsewhere; --ip=ADDRESS
# listens on one address only.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if [[ -x .venv/bin/python ]]; then
    python=.venv/bin/python
    # a terminal opened inside JupyterLab then finds the same environment
    export VIRTUAL_ENV="$PWD/.venv" PATH="$PWD/.venv/bin:$PATH"
else
    python=$(command -v python3 || command -v python) || {
        echo "jupyter-lab.sh: no Python found: run 'make install', or activate the environment first" >&2
        exit 2
    }
fi

if ! "$python" -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("jupyterlab"))'; then
    echo "jupyter-lab.sh: $python has no JupyterLab: run 'make install', or activate the environment first" >&2
    exit 2
fi

# These settings keep JupyterLab from covering the lesson with a question about news.
options=(--LabApp.app_settings_dir="$PWD/cs236781/jupyterlab")

# The display of xvfb-run, which nobody sees, is known by the folder of its authority file.
if [[ -n "${SLURM_JOB_ID:-}" || "${XAUTHORITY:-}" == */xvfb-run.* ||
    ( "$(uname)" == Linux && -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ) ]]; then
    options+=(--no-browser)
    # every address: a machine's own name often leads only back to itself; the token guards the door
    [[ " $* " =~ \ --(ServerApp\.)?ip[=\ ] ]] || options+=(--ip=0.0.0.0)
fi

exec "$python" -m jupyterlab "${options[@]}" "$@"
