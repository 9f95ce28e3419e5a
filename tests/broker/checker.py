"""Judges a history by the vendor's log and the clients' record. It knows the promises, and nothing of the broker."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from attrs import define, field

from .holds import Holds, holds

Entry = Mapping[str, Any]
_TERMINAL = {"COMPLETED", "FAILED", "CANCELLED"}


def faults(
    log: Sequence[Entry],
    record: Sequence[Entry],
    lanes: Mapping[str, int],
    is_result: Callable[[str, Any], bool],
    sessionless: Collection[str] = (),
) -> list[str]:
    """Every broken promise, as ``promise: what happened``.

    Args:
        log: the vendor's, in its order: ``session.opened`` and ``session.closed`` with a ``lease_key``, and
            ``task.started`` with the ``note`` of its payload, ``RESOURCE/KEY``; where the vendor knows in whose session
            it ran, with that lease's key as ``session``.
        record: the clients'.
        lanes: of each resource.
        is_result: whether a document is the result of the payload with a note.
        sessionless: resources of whose leases the log says nothing: there the clients' word counts.
    """
    judge = _Judge(log, record, lanes, is_result, sessionless)
    return [fault for rule in _RULES for fault in rule(judge)]


@define
class _Judge:
    log: Sequence[Entry]
    record: Sequence[Entry]
    lanes: Mapping[str, int]
    is_result: Callable[[str, Any], bool]
    sessionless: Collection[str]
    opened: dict[str, Entry] = field(factory=dict)
    """By lease key."""
    closed: dict[str, Entry] = field(factory=dict)
    ended: dict[tuple[str, tuple[int, int]], float] = field(factory=dict)
    """When a run of a job was first known to have ended."""
    asked_back: dict[str, float] = field(factory=dict)
    """When the release of a grant was first asked for."""
    granted: dict[str, Entry] = field(factory=dict)
    """The first answer that said so, by grant."""
    holds: Holds = field(init=False)
    """Where no session tells of them."""

    def __attrs_post_init__(self) -> None:
        for entry in self.log:
            if entry["event"] == "session.opened":
                self.opened[entry["lease_key"]] = entry
            elif entry["event"] == "session.closed":
                self.closed[entry["lease_key"]] = entry
        for entry in self.record:
            if entry["event"] == "run.ended":
                self.ended.setdefault((entry["job"], entry["age"]), entry["at"])
            elif entry["event"] == "release.asked":
                self.asked_back.setdefault(entry["grant"], entry["at"])
            elif entry["event"] == "answer" and entry["found"].get("state") == "granted":
                self.granted.setdefault(entry["found"]["id"], entry)
        over_at = {grant: self.over_at(grant) for grant in self.granted}
        self.holds = Holds([*holds(self.granted, over_at, self.record, self.sessionless)], self.lanes)

    def answers(self, *verbs: str) -> Iterator[Entry]:
        return (entry for entry in self.record if entry["event"] == "answer" and entry["verb"] in verbs)

    def over_at(self, grant: str) -> float:
        """From when on the lease may have ended: its release was asked for, or its run was known to have ended."""
        told = self.granted[grant]
        never = float("inf")
        return min(self.asked_back.get(grant, never), self.ended.get((told["job"], told["age"]), never))


def lanes_are_kept(judge: _Judge) -> Iterator[str]:
    """Never more holders than lanes, and an exclusive one alone."""
    holders: dict[str, dict[str, bool]] = defaultdict(dict)
    for entry in judge.log:
        held = holders[entry["resource"]]
        if entry["event"] == "session.opened":
            held[entry["lease_key"]] = entry["exclusive"]
            if len(held) > judge.lanes[entry["resource"]] or (len(held) > 1 and any(held.values())):
                yield f"lanes: {entry['resource']} has {len(held)} holders at {entry['at']:.3f}: {held}"
        elif entry["event"] == "session.closed":
            held.pop(entry["lease_key"], None)
    for hold in judge.holds.every:
        if hold.is_sure(hold.told_at) and not judge.holds.has_room(hold, hold.told_at):
            beside = [one.key for one in judge.holds.beside(hold, hold.told_at)]
            yield f"lanes: {hold.resource} has {hold.key} at {hold.told_at:.3f} beside {beside}"


def grants_end(judge: _Judge) -> Iterator[str]:
    """When all jobs have ended, no session is open and no lease is listed."""
    for lease_key in judge.opened.keys() - judge.closed.keys():
        yield f"ends: the session of {lease_key} is still open"
    for entry in judge.answers("last list"):
        for grant in entry["found"]["leases"]:
            if grant["state"] != "failed":  # a refusal is remembered for a while
                yield f"ends: still listed: {grant}"
    if not any(judge.answers("last list")):
        yield "ends: the last list is missing"


def fences_hold(judge: _Judge) -> Iterator[str]:
    """No task starts without an open lease of the one who starts it, and no lease comes back once it has ended."""
    running: set[str] = set()
    accepted = defaultdict(set)
    for entry in judge.answers("submit"):
        accepted[f"{entry['resource']}/{entry['key']}"].add(f"{entry['grant']}-{entry['fence']}")
    for entry in judge.log:
        if entry["event"] == "session.opened":
            running.add(entry["lease_key"])
        elif entry["event"] == "session.closed":
            running.discard(entry["lease_key"])
        elif entry["event"] == "task.started":
            mine = accepted[entry["note"]]
            if entry["resource"] in judge.sessionless:
                is_held = any(judge.holds.may_be(key, entry["at"]) for key in mine)
            else:
                is_held = bool(mine & running)
            if not is_held:
                yield f"fence: {entry['note']} started at {entry['at']:.3f} under none of {mine}"
            elif "session" in entry and entry["session"] not in mine:
                yield f"fence: {entry['note']} of {mine} ran in the session of {entry['session']}"
    ended = {key: entry["at"] for key, entry in judge.closed.items()}
    ended |= {hold.key: hold.gone_at for hold in judge.holds.every}
    for entry in judge.answers("submit"):
        ended_at = ended.get(f"{entry['grant']}-{entry['fence']}", float("inf"))
        if entry["status"] == 201 and ended_at < entry["begun"]:
            yield f"fence: {entry['key']} was accepted with fence {entry['fence']}, which had ended"
    newest: dict[str, tuple[float, tuple[int, int]]] = {}
    for entry in sorted(judge.granted.values(), key=lambda entry: entry["at"]):
        at, age = newest.get(entry["job"], (float("inf"), (0, 0)))
        if entry["begun"] > at and entry["age"] < age:
            yield f"fence: run {entry['age']} of job {entry['job']} was granted after {age}"
        if entry["age"] > age:
            newest[entry["job"]] = (entry["at"], entry["age"])
    fences = [int(key.rpartition("-")[2]) for key in (*judge.opened, *(hold.key for hold in judge.holds.every))]
    if len(set(fences)) != len(fences):
        yield "fence: two leases have the same"


def tasks_start_once(judge: _Judge) -> Iterator[str]:
    """One user, resource and key: one task at the vendor, one id for the client."""
    started = Counter(entry["note"] for entry in judge.log if entry["event"] == "task.started")
    for note, count in started.items():
        if count > 1:
            yield f"once: {note} was started {count} times"
    ids = defaultdict(set)
    for entry in judge.answers("submit", "find"):
        if entry["status"] in (200, 201) and entry["found"]["id"] is not None:
            ids[entry["resource"], entry["key"]].add(entry["found"]["id"])
    for what, found in ids.items():
        if len(found) > 1:
            yield f"once: {what} is {len(found)} tasks: {found}"


def tasks_are_kept(judge: _Judge) -> Iterator[str]:
    """An accepted task is found for ever after, ends, and gives its own result."""
    started = {entry["note"]: entry for entry in judge.log if entry["event"] == "task.started"}
    accepted = {}
    for entry in judge.answers("submit"):
        if entry["status"] == 201:
            note = f"{entry['resource']}/{entry['key']}"
            accepted[entry["found"]["id"]] = note
    last = {entry["task"]: entry for entry in judge.answers("last status")}
    results = {entry["task"]: entry for entry in judge.answers("last result")}
    for task, note in accepted.items():
        status = last[task]["found"].get("status") if task in last else None
        if status not in _TERMINAL:
            yield f"kept: {note}, accepted as {task}, is {last[task]['found'] if task in last else 'not asked for'}"
        elif note not in started and "not known" not in (last[task]["found"]["reason"] or ""):
            yield f"kept: {note} was accepted and never started: {last[task]['found']}"
        elif status == "COMPLETED" and not (task in results and judge.is_result(note, results[task]["found"])):
            yield f"kept: the result of {note} is {results.get(task)}"
    for entry in judge.answers("status", "result", "stop"):
        if entry["status"] == 404:
            yield f"kept: {entry['verb']} of {entry['key']}: {entry['found']}"
        note, has_result = f"{entry['resource']}/{entry['key']}", entry["status"] == 200 and entry["verb"] == "result"
        if has_result and not judge.is_result(note, entry["found"]):
            yield f"kept: the result of {entry['key']} is {entry['found']}"


def leases_stay(judge: _Judge) -> Iterator[str]:
    """What was granted stays until somebody gives it back or the scheduler shows the end of its run."""
    for grant, told in judge.granted.items():
        mine = [key for key in judge.opened if key.rpartition("-")[0] == grant]
        if not mine and not any(hold.key.rpartition("-")[0] == grant for hold in judge.holds.every):
            yield f"stays: {grant} was granted without a session"
        for key in mine:
            if judge.opened[key]["at"] > told["at"]:
                yield f"stays: {key} was granted before it was opened"
            if key in judge.closed and judge.closed[key]["at"] < judge.over_at(grant):
                yield f"stays: {key} of job {told['job']} was closed at {judge.closed[key]['at']:.3f}, needed still"
    for entry in judge.answers("submit"):
        is_old = entry["grant"] not in judge.granted or entry["at"] > judge.over_at(entry["grant"])
        if entry["status"] in (403, 404) and not is_old:
            yield f"stays: {entry['key']} was refused: {entry['found']}"
    for entry in judge.answers("show"):
        grant = entry["grant"]
        is_held = grant in judge.granted and judge.granted[grant]["at"] < entry["at"] < judge.over_at(grant)
        if is_held and entry["status"] in (404, 410):
            yield f"stays: {grant} was not found: {entry['found']}"
    for entry in judge.answers("ask", "show"):
        ended_at = judge.ended.get((entry["job"], entry["age"]), float("inf"))
        if (
            entry["found"].get("state") == "released"
            and entry["at"] < ended_at
            and entry["found"]["id"] not in judge.asked_back
        ):
            yield f"stays: job {entry['job']} {entry['age']} was told that its lease is released: {entry}"


def answers_make_sense(judge: _Judge) -> Iterator[str]:
    """Nothing is a fault of the broker, nothing stays unanswered, and one grant has one answer."""
    for entry in judge.record:
        if entry["event"] == "unanswered":
            yield f"answers: none to {entry}"
    told: dict[str, Any] = {}
    for entry in judge.answers("ask", "show", "submit", "find", "status", "result", "stop", "release", "list"):
        if entry["status"] == 500 or "fault of the broker" in str(entry["found"].get("error", "")):
            yield f"answers: {entry['verb']} got {entry['status']} {entry['found']}"
        if entry["found"].get("state") == "granted" and entry["verb"] in ("ask", "show"):
            grant = entry["found"]["id"]
            if told.setdefault(grant, entry["found"]["environment"]) != entry["found"]["environment"]:
                yield f"answers: {grant} has two environments"


_RULES = (
    *(lanes_are_kept, grants_end, fences_hold, tasks_start_once),
    *(tasks_are_kept, leases_stay, answers_make_sense),
)
