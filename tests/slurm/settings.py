"""The configuration files of the test cluster: a stock Slurm as root, without systemd, on free ports of loopback."""

from __future__ import annotations

import socket
from pathlib import Path

# cred_expire: a requeued job waits until the credentials of its old run have expired, by default two minutes
PLUGIN = "spank_qrmi.so"

_SLURM = """\
ClusterName=t{control}
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/munged.sock,cred_expire=5
SlurmUser=root
SlurmdUser=root
SlurmctldPort={control}
StateSaveLocation={folder}/spool/ctld
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/pid/ctld.pid
SlurmdPidFile={folder}/pid/d.%n.pid
SlurmctldLogFile={folder}/log/ctld.log
SlurmdLogFile={folder}/log/d.%n.log
SlurmdDebug=debug
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=bf_interval=1,sched_interval=2,batch_sched_delay=0,sched_min_interval=0,bf_licenses
ReturnToService=2
KillWait=2
PlugStackConfig={folder}/etc/plugstack.conf
{extra}
{nodes}
PartitionName=q Nodes=n[1-{count}] Default=YES MaxTime=INFINITE State=UP
"""
_NODE = "NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 Port={port} CPUs=8 CoresPerSocket=8 RealMemory=2000"


def slurm(folder: Path, ports: list[int], extra: str) -> str:
    """slurm.conf: the first port is the controller's, each other makes a node."""
    nodes = [_NODE.format(name=f"n{number}", port=port) for number, port in enumerate(ports[1:], 1)]
    return _SLURM.format(
        folder=folder,
        control=ports[0],
        host=socket.gethostname().partition(".")[0],
        extra=extra,
        nodes="\n".join(nodes),
        count=len(nodes),
    )


def plugstack(folder: Path, plugin: Path, *words: str) -> str:
    """plugstack.conf as an administrator would write it; ``%n`` is the node, which has sockets of its own here."""
    return f"optional {plugin} {' '.join([f'socket={folder}/%n/run/admin.sock', *words])}\n"
