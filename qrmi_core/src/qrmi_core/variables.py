"""Every environment variable that we read or set, declared once; the reference in the docs is made from this table."""

from __future__ import annotations

import re

from attrs import frozen


@frozen
class Variable:
    """One environment variable. ``<name>`` stands for the name of a resource."""

    name: str
    help: str


JOB_RESOURCES = "QRMI_JOB_QPU_RESOURCES"
JOB_TYPES = "QRMI_JOB_QPU_TYPES"
SLURM_RESOURCES = "SLURM_JOB_QPU_RESOURCES"
SLURM_TYPES = "SLURM_JOB_QPU_TYPES"
DELIMITER = "QRMI_LIST_DELIMITER"
CONFIG = "QRMI_CONFIG"
STATE_DIR = "QRMI_STATE_DIR"
LOG_LEVEL = "QRMI_LOG_LEVEL"
TOKEN_SUFFIX = "QRMI_JOB_ACQUISITION_TOKEN"  # noqa: S105 - the name of a variable
TIMEOUT_SUFFIX = "QRMI_JOB_TIMEOUT_SECONDS"
BROKER_SUFFIX = "QRMI_BROKER"
JOB_ID = "QRMI_JOB_ID"
JOB_UID = "QRMI_JOB_UID"
BROKER_SOCKET = "QRMI_BROKER_SOCKET"
ADMIN_SOCKET = "QRMI_ADMIN_SOCKET"

VARIABLES = (
    Variable(
        JOB_RESOURCES,
        "The resources of this job as it calls them, in order, separated by commas. Set by the Slurm plugin in a job "
        "with `--qpu`, or by hand elsewhere.",
    ),
    Variable(JOB_TYPES, f"The types of the resources in `{JOB_RESOURCES}`, in the same order."),
    Variable(SLURM_RESOURCES, f"The same as `{JOB_RESOURCES}`, for existing programs; read where that one is not set."),
    Variable(SLURM_TYPES, f"The same as `{JOB_TYPES}`, for existing programs; read where that one is not set."),
    Variable(DELIMITER, "What separates the names in the four lists above; a comma by default."),
    Variable(
        "<name>_QRMI_...",
        "A setting of the resource *name*, as its backend declares it. A name with other than "
        "word characters also works with `_` in their place, because shells cannot set it otherwise. Outside a "
        "job such a variable adds to, or replaces, what the configuration file says.",
    ),
    Variable(
        f"<name>_{TOKEN_SUFFIX}",
        "The session that somebody opened for this job on the resource *name*; behind a broker the proof that the "
        "job has its lease. With it no session is opened or closed by us.",
    ),
    Variable(
        f"<name>_{TIMEOUT_SUFFIX}",
        "The job's time limit in seconds: the deadline of the resource's tasks. A year where the job has none.",
    ),
    Variable(
        f"<name>_{BROKER_SUFFIX}",
        "The socket of the broker, or of this node's relay, through which the resource *name* is reached.",
    ),
    Variable(JOB_ID, "The job that holds the lease, as the scheduler numbers it."),
    Variable(JOB_UID, "The user that holds the lease, as a number."),
    Variable(
        BROKER_SOCKET,
        "Where `qrmi task` finds the broker outside a job; `/run/qrmi/qrmi.sock` by default.",
    ),
    Variable(
        ADMIN_SOCKET,
        "Where `qrmi doctor`, `qrmi usage` and `qrmi slurm` find the administrators' socket; "
        "`/run/qrmi/admin.sock` by default.",
    ),
    Variable(CONFIG, "The `qrmi_config.json` to use outside a job, where `--config` does not name one."),
    Variable(
        STATE_DIR,
        "Where resources keep what must outlive a process, and where a result goes that could not be "
        "written; by default `$XDG_STATE_HOME/qrmi` or `~/.local/state/qrmi`.",
    ),
    Variable(
        LOG_LEVEL,
        "The least level of events that are written to standard error: `debug`, `info` (the default), "
        "`warning` or `error`.",
    ),
    Variable(
        "SLURM_SPANK__SLURM_SPANK_OPTION_qrmi_qpu",
        "How Slurm hands on `--qpu`. In a batch script the plugin sets it to what the job was given, so that its "
        "steps ask for the same; `sbatch` and `salloc` inside of a job forget it.",
    ),
    Variable("SLURM_PROCID", "In a step of several tasks only number 0 submits; `qrun --each-task` changes that."),
)


def shell_name(resource: str) -> str:
    """*resource* as a shell can spell it in a variable's name: other than word characters become ``_``."""
    return re.sub(r"\W", "_", resource, flags=re.ASCII)


NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
"""Of a resource. It stands in options, variables and paths, so it is no ``..`` and starts with no ``-``."""
NAME_RULE = "Use letters, digits, '_', '-' and '.' only, the first one a letter, a digit or '_'"
