#!/usr/bin/env bash
# A Slurm cluster of one node on this machine, for the tests: two CPUs, no accounting, no control groups. Debian: apt-get install slurm-wlm munge
#
#   cluster.sh up FOLDER      starts it; its files lie in FOLDER, and a link to its settings in /etc/slurm
#   cluster.sh down FOLDER    stops it
#
# It runs as root. The link is needed because Snakemake's plugin takes SLURM_CONF from the jobs.
set -euo pipefail
folder=$2
conf=$folder/slurm.conf
link=/etc/slurm/slurm.conf

stop() {
    for name in slurmd slurmctld munged; do
        if [ -f "$folder/$name.pid" ]; then kill -9 "$(cat "$folder/$name.pid")" 2>/dev/null || true; fi
    done
    if [ "$(readlink "$link")" = "$conf" ]; then rm "$link"; fi
}

write_settings() {
    cat > "$conf" <<CONF
ClusterName=study
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SchedulerParameters=sched_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SlurmdSpoolDir=$folder/spool
StateSaveLocation=$folder/state
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000
PartitionName=study Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
}

case $1 in
up)
    if [ -e "$link" ]; then
        echo "This machine has a Slurm of its own ($link), which is left alone." >&2
        exit 1
    fi
    mkdir -p "$folder/spool" "$folder/state"
    chmod 755 "$folder"
    head -c 1024 /dev/urandom > "$folder/munge.key"
    chmod 400 "$folder/munge.key"
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
    write_settings
    mkdir -p "$(dirname "$link")"
    ln -sfn "$conf" "$link"
    slurmctld
    slurmd
    for _ in $(seq 60); do
        if sinfo --noheader --format=%T 2>/dev/null | grep -q idle; then exit 0; fi
        sleep 1
    done
    echo "The node does not answer; see $folder/slurmctld.log and $folder/slurmd.log." >&2
    stop
    exit 1
    ;;
down)
    stop
    ;;
*)
    echo "Use: cluster.sh up|down FOLDER" >&2
    exit 2
    ;;
esac
