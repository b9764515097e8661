#!/usr/bin/env bash
# A Slurm cluster of one machine, on loopback, to test against. It needs root, and Debian's slurm-wlm and munge.
#   tests/slurm.sh start DIR   makes DIR, starts the cluster, and prints the line that makes it the shell's own
#   tests/slurm.sh stop DIR    ends the cluster's jobs and daemons, and removes DIR
# It disturbs no cluster that this machine belongs to: what it writes is in DIR, munge's key and socket too, and its
# daemons listen on free ports. It uses no cgroups, so that it runs in a container. Exit status: 2 where it cannot be
# used, with one line that says why; 1 where it was tried and failed.
set -euo pipefail

cannot() {
    echo "tests/slurm.sh: $*" >&2
    exit 2
}

[[ $# == 2 && ("$1" == start || "$1" == stop) ]] || cannot "usage: tests/slurm.sh start|stop DIR"
PATH="$PATH:/usr/sbin" # where Debian keeps the daemons
for program in munged slurmctld slurmd sinfo squeue scancel python3; do
    type -P "$program" >/dev/null || cannot "there is no $program: run 'apt-get install slurm-wlm munge python3'"
done
((EUID == 0)) || cannot "only root can start and stop Slurm's daemons: run it as root"
dir=$(realpath -m -- "$2")
export SLURM_CONF="$dir/slurm.conf"

# Wait until a command succeeds: wait_for SECONDS COMMAND...
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

free_ports() {
    python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(s.getsockname()[1] for s in sockets))'
}

write_configuration() {
    local host cpus memory slurmctld_port slurmd_port
    host=$(hostname -s)
    cpus=$(nproc)
    memory=$(awk '/^MemTotal:/ {print int($2 / 1024)}' /proc/meminfo)
    read -r slurmctld_port slurmd_port < <(free_ports)
    # config_overrides: the node is taken as described here, with two CPUs even where there is one
    cat >"$SLURM_CONF" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$slurmctld_port
SlurmdPort=$slurmd_port
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SlurmUser=root
SlurmdUser=root
SlurmdParameters=config_overrides
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ReturnToService=2
KillWait=3
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
NodeName=$host NodeAddr=127.0.0.1 CPUs=$((cpus < 2 ? 2 : cpus)) RealMemory=$memory State=UNKNOWN
PartitionName=debug Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
}

is_idle() {
    [[ "$(sinfo --noheader --format=%T 2>/dev/null)" == idle ]]
}

no_jobs_left() {
    [[ -z "$(squeue --noheader 2>/dev/null)" ]]
}

# End what has started, and show why the rest has not.
give_up() {
    tail -n 20 "$dir"/*.log >&2 || true
    echo "tests/slurm.sh: the cluster did not start; its logs are above" >&2
    stop
    exit 1
}

start() {
    [[ ! -e "$dir" ]] || cannot "$dir exists: name a folder that start can make and stop can remove"
    trap give_up EXIT
    mkdir -p "$dir"
    chmod 700 "$dir"
    mkdir "$dir"/{state,spool}
    write_configuration
    head -c 1024 /dev/urandom >"$dir/munge.key"
    chmod 400 "$dir/munge.key"
    # --force: its socket is root's alone, which munged would warn of and refuse
    munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
        --log-file="$dir/munged.log" --seed-file="$dir/munged.seed" 2>/dev/null
    slurmctld
    slurmd
    wait_for 60 is_idle
    trap - EXIT
    echo "export SLURM_CONF=$SLURM_CONF"
}

has_gone() {
    ! kill -0 "$1" 2>/dev/null
}

# End a daemon by the process number that it wrote, and wait until it has gone.
end_daemon() {
    local pid
    [[ -s "$dir/$1.pid" ]] || return 0
    pid=$(<"$dir/$1.pid")
    kill "$pid" 2>/dev/null || return 0
    wait_for 30 has_gone "$pid" || kill -KILL "$pid"
}

stop() {
    [[ -f "$SLURM_CONF" ]] || cannot "there is no slurm.conf in $dir: name the folder that start was given"
    if [[ -s "$dir/slurmctld.pid" ]]; then # jobs first: they outlive the daemons
        for state in PENDING RUNNING; do
            scancel --state="$state" || true
        done
        wait_for 60 no_jobs_left || echo "tests/slurm.sh: these jobs would not end: $(squeue --noheader)" >&2
    fi
    for daemon in slurmd slurmctld munged; do
        end_daemon "$daemon"
    done
    rm -rf "$dir"
}

"$1"
