"""What the ledger holds of leases and tasks, as SQL: each function is a part of one transaction."""

from __future__ import annotations

import json
import sqlite3
import time

import attrs

from qrmi_broker.lease import Facts, Grant, Lease, LeaseState, Wanted
from qrmi_broker.task import Task, TaskRecord
from qrmi_core.models import Run, TaskState, TaskStatus


def intend(db: sqlite3.Connection, grant: Grant) -> list[int]:
    """Before a vendor is asked; a lease that needs no vendor is ACTIVE with it. Its fences count once committed."""
    run, facts, now, fences = grant.run, grant.facts, time.time(), []
    db.execute(
        "INSERT INTO grants (id, cluster, job_id, restart_count, start_time, uid, user, account, partition, qos, node,"
        " asked_at, expires_at, wanted) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(grant.id, run.cluster or "", run.job_id or "", run.restart_count, run.start_time or 0, run.uid),
            *(facts.user, facts.account, facts.partition, facts.qos, facts.node),
            *(now, grant.expires_at),
            json.dumps({"wanted": [attrs.asdict(one) for one in grant.wanted], "facts": attrs.asdict(facts)}),
        ),
    )
    for lease in grant.leases:
        state, acquired_at = (LeaseState.INTENT, None) if lease.is_to_be_opened else (LeaseState.ACTIVE, now)
        written = db.execute(
            'INSERT INTO leases ("grant", resource, alias, exclusive, own, state, session, acquired_at)'
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(grant.id, lease.resource, lease.alias, lease.exclusive, lease.own),
                *(state, lease.session, acquired_at),
            ),
        )
        fences.append(written.lastrowid or 0)
    return fences


def activate(db: sqlite3.Connection, lease: Lease) -> None:
    db.execute(
        "UPDATE leases SET state = ?, session = ?, acquired_at = ? WHERE fence = ?",
        (LeaseState.ACTIVE, lease.session, time.time(), lease.fence),
    )


def extend(db: sqlite3.Connection, grant: Grant) -> None:
    db.execute("UPDATE grants SET expires_at = ? WHERE id = ?", (grant.expires_at, grant.id))


def doubt(db: sqlite3.Connection, lease: Lease) -> None:
    """Like those after it, it changes nothing when it is written again later: what is owed may be."""
    db.execute(
        "UPDATE leases SET state = ? WHERE fence = ? AND state = ?",
        (LeaseState.OUTCOME_UNKNOWN, lease.fence, LeaseState.INTENT),
    )


def releasing(db: sqlite3.Connection, lease: Lease, reason: str) -> None:
    """With its session, which may have been found only now: after a crash RELEASING is not looked for again."""
    db.execute(
        "UPDATE leases SET state = ?, session = ?, end_reason = coalesce(end_reason, ?) WHERE fence = ? AND state != ?",
        (LeaseState.RELEASING, lease.session, reason, lease.fence, LeaseState.RELEASED),
    )


def released(db: sqlite3.Connection, lease: Lease) -> None:
    db.execute(
        "UPDATE leases SET state = ?, released_at = coalesce(released_at, ?) WHERE fence = ?",
        (LeaseState.RELEASED, time.time(), lease.fence),
    )


def is_active(db: sqlite3.Connection, fence: int) -> bool:
    """Whether the lease is there to be used."""
    row = db.execute("SELECT state FROM leases WHERE fence = ?", (fence,)).fetchone()
    return row is not None and row["state"] == LeaseState.ACTIVE


def is_released(db: sqlite3.Connection, grant_id: str, fence: int) -> bool:
    """Whether there was such a lease, and it is over."""
    row = db.execute('SELECT state FROM leases WHERE fence = ? AND "grant" = ?', (fence, grant_id)).fetchone()
    return row is not None and row["state"] == LeaseState.RELEASED


def was_leased(db: sqlite3.Connection, resource: str) -> bool:
    """Whether anybody ever had a lease on it: a vendor that nobody uses is left alone."""
    return db.execute("SELECT 1 FROM leases WHERE resource = ? LIMIT 1", (resource,)).fetchone() is not None


UNDONE = "the broker restarted"
"""The end reason of a lease that a crash kept from being granted."""


def last_run(db: sqlite3.Connection, run: Run) -> tuple[int, int] | None:
    """The newest run of this job that was granted its leases."""
    found = db.execute(
        "SELECT start_time, restart_count FROM grants WHERE cluster = ? AND job_id = ? AND EXISTS "
        '(SELECT 1 FROM leases WHERE "grant" = grants.id AND acquired_at IS NOT NULL'
        " AND coalesce(end_reason, '') NOT LIKE 'not granted%' AND coalesce(end_reason, '') != ?)"
        " ORDER BY start_time DESC, restart_count DESC LIMIT 1",
        (run.cluster or "", run.job_id or "", UNDONE),
    ).fetchone()
    return None if found is None else (found[0], found[1])


def open_grants(db: sqlite3.Connection) -> list[Grant]:
    grants = []
    for row in db.execute(
        'SELECT * FROM grants WHERE id IN (SELECT "grant" FROM leases WHERE state != ?) ORDER BY row',
        (LeaseState.RELEASED,),
    ).fetchall():
        asked = json.loads(row["wanted"])
        facts = asked["facts"]
        if facts.get("licences") is not None:
            facts["licences"] = tuple(facts["licences"])
        grant = Grant(
            id=row["id"],
            run=Run(
                uid=row["uid"],
                cluster=row["cluster"] or None,
                job_id=row["job_id"] or None,
                restart_count=row["restart_count"],
                start_time=row["start_time"] or None,
            ),
            facts=Facts(**facts),
            wanted=tuple(Wanted(**one) for one in asked["wanted"]),
            expires_at=row["expires_at"],
            limit_s=max(Facts(**facts).limit_s, row["expires_at"] - row["asked_at"]),  # it may have been raised
        )
        reasons = set()
        for one in db.execute('SELECT * FROM leases WHERE "grant" = ? ORDER BY fence', (row["id"],)).fetchall():
            grant.leases.append(
                Lease(
                    grant=grant,
                    resource=one["resource"],
                    alias=one["alias"],
                    exclusive=bool(one["exclusive"]),
                    own=bool(one["own"]),
                    fence=one["fence"],
                    state=LeaseState(one["state"]),
                    session=one["session"],
                )
            )
            reasons.add(one["end_reason"] or UNDONE)
        states = {lease.state for lease in grant.leases}
        grant.is_undone = all(one == UNDONE or one.startswith("not granted") for one in reasons) and bool(
            states & {LeaseState.INTENT, LeaseState.RELEASING, LeaseState.RELEASED}
        )
        grants.append(grant)
    return grants


def intend_task(db: sqlite3.Connection, task: Task) -> None:
    """Before the vendor is asked."""
    db.execute(
        "INSERT INTO tasks (id, fence, uid, resource, key, kind, digest, size_bytes, payload, state, submitted_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(task.id, task.fence, task.uid, task.resource, task.key, task.kind, task.digest, task.size_bytes),
            *(task.payload, TaskRecord.INTENT, time.time()),
        ),
    )


def identify_task(db: sqlite3.Connection, task: Task) -> None:
    """The vendor gave it an id."""
    db.execute(
        "UPDATE tasks SET state = ?, vendor_id = ?, payload = NULL WHERE id = ?",
        (TaskRecord.ACTIVE, task.vendor_id, task.id),
    )


def end_task(db: sqlite3.Connection, task: Task, state: str, reason: str | None) -> None:
    """It has ended, or nobody knows."""
    result = task.result if state == TaskStatus.COMPLETED else None
    db.execute(
        "UPDATE tasks SET state = ?, reason = ?, qpu_s = ?, ended_at = ?, payload = NULL, result = ? WHERE id = ?",
        (state, reason, task.qpu_s, time.time(), result, task.id),
    )


def forget_results(db: sqlite3.Connection, before: float) -> None:
    """Of the tasks that ended before then."""
    db.execute("UPDATE tasks SET result = NULL WHERE result IS NOT NULL AND ended_at < ?", (before,))


def remove_task(db: sqlite3.Connection, task_id: str) -> None:
    """It was refused: there never was one."""
    db.execute("DELETE FROM tasks WHERE id = ?", (task_id,))


def remove_intent(db: sqlite3.Connection, task: Task) -> None:
    """It was not submitted after all."""
    db.execute("DELETE FROM tasks WHERE id = ? AND state = ?", (task.id, TaskRecord.INTENT))


def task(db: sqlite3.Connection, task_id: str) -> Task | None:
    """A task."""
    row = db.execute("SELECT * FROM tasks WHERE id = ?", (task_id,)).fetchone()
    return None if row is None else _task(row)


def task_by_key(db: sqlite3.Connection, uid: int, resource: str, key: str) -> Task | None:
    """The task that a user submitted with *key*."""
    row = db.execute("SELECT * FROM tasks WHERE uid = ? AND resource = ? AND key = ?", (uid, resource, key)).fetchone()
    return None if row is None else _task(row)


def open_tasks(db: sqlite3.Connection) -> list[Task]:
    """The tasks that have not ended."""
    rows = db.execute(
        "SELECT tasks.*, leases.session FROM tasks LEFT JOIN leases USING (fence) WHERE tasks.state IN (?, ?)",
        (TaskRecord.INTENT, TaskRecord.ACTIVE),
    )
    return [_task(row, session=row["session"]) for row in rows]


def _task(row: sqlite3.Row, session: str | None = None) -> Task:
    columns = (
        "id",
        "resource",
        "uid",
        "key",
        "kind",
        "digest",
        "size_bytes",
        "fence",
        "vendor_id",
        "qpu_s",
        "payload",
        "result",
    )
    return Task(**{name: row[name] for name in columns}, session=session, state=_state(row))


def _state(row: sqlite3.Row) -> TaskState:
    if row["state"] in (TaskRecord.INTENT, TaskRecord.ACTIVE):
        return TaskState(TaskStatus.QUEUED)
    if row["state"] == TaskRecord.OUTCOME_UNKNOWN:
        doubt = f"whether it was submitted is not known: {row['reason']}; it may have run, so look at the vendor first"
        return TaskState(TaskStatus.FAILED, doubt)
    return TaskState(TaskStatus(row["state"]), row["reason"])


def drains(db: sqlite3.Connection) -> list[sqlite3.Row]:
    """The resources on which nothing new is given."""
    return db.execute("SELECT * FROM drains").fetchall()


def set_drain(db: sqlite3.Connection, resource: str, reason: str | None) -> None:
    """Drain with a reason, resume without one."""
    db.execute("DELETE FROM drains WHERE resource = ?", (resource,))
    if reason is not None:
        db.execute("INSERT INTO drains VALUES (?, ?, ?)", (resource, reason, time.time()))


def usage(db: sqlite3.Connection, since: float) -> list[sqlite3.Row]:
    """What was used since, by job and resource."""
    return db.execute(
        "SELECT g.cluster, g.job_id, g.uid, g.user, g.account, l.resource,"
        " count(DISTINCT l.fence) AS leases, count(t.id) AS tasks, coalesce(sum(t.qpu_s), 0) AS qpu_s,"
        " max(coalesce(l.released_at, ?) - l.acquired_at) AS held_s, max(l.end_reason) AS end_reason"
        ' FROM grants g JOIN leases l ON l."grant" = g.id LEFT JOIN tasks t ON t.fence = l.fence'
        " WHERE l.acquired_at >= ? AND coalesce(l.end_reason, '') NOT LIKE 'not granted%'"
        " AND coalesce(l.end_reason, '') != ? GROUP BY g.row, l.resource ORDER BY g.row",
        (time.time(), since, UNDONE),
    ).fetchall()


def unknowns(db: sqlite3.Connection) -> list[str]:
    """Leases and tasks of which nobody knows whether they are open at the vendor."""
    leases = db.execute('SELECT fence, resource, "grant" FROM leases WHERE state = ?', (LeaseState.OUTCOME_UNKNOWN,))
    tasks = db.execute("SELECT id, resource FROM tasks WHERE state = ?", (TaskRecord.OUTCOME_UNKNOWN,))
    return [
        *(f"lease {row['grant']} (fence {row['fence']}) on {row['resource']}" for row in leases),
        *(f"task {row['id']} on {row['resource']}" for row in tasks),
    ]
