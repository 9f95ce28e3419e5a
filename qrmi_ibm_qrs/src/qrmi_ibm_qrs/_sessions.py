"""Sessions of leases: opened once for each key, found again when the answer was lost, closed whatever happened."""

from __future__ import annotations

import itertools
import math
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress

from attrs import define, evolve, field

from qrmi_core import (
    AcquireRequest,
    ConfigError,
    Context,
    OutcomeUnknown,
    RequestRefused,
    ResourceError,
    Session,
    UnexpectedReply,
)
from qrmi_ibm_qrs._api import Service
from qrmi_ibm_qrs._records import Record, Records
from qrmi_ibm_qrs._turns import Turns

_MODES = ("dedicated", "batch", "job")
"""Each is tried where the plan refuses the one before it; in the last no session is opened."""
_JOB = "job-"
"""The token of a lease without a session starts so."""
_REFUSED_BY_PLAN = "1352"
_WORKLOADS = {"dedicated": "session", "batch": "batch"}
"""What the account's list calls them."""
_CLOCK_S = 5.0
"""How far apart the service's notes of one moment may lie."""
_LATE_S = 60.0
"""For so long a session may come of a request whose sender has died."""


@define(eq=False)
class Sessions:
    """The sessions that leases of one resource have at the service. Any thread may call."""

    ctx: Context
    service: Service
    records: Records
    _turns: Turns = field(factory=Turns)
    _refused: set[str] = field(factory=set)
    """Modes that the plan does not allow; it is said once."""
    _ended: set[str] = field(factory=set)
    """Sessions that tasks found closed."""
    _choosing: threading.Lock = field(factory=threading.Lock)

    def open(self, request: AcquireRequest) -> str:
        """The token of the session of *request*: a new one, unless its key has one or somebody gave us one.

        Raises:
            RequestRefused, AuthenticationFailed: there is none.
            ResourceUnavailable: there is none; or there may be one, which the same key then finds.
        """
        with self._turns.of(request.lease_key):
            known = self.records.find(request.lease_key)
            if known and (token := self._still(known)):
                return token
            given = self.service.given_session
            if given and self._is_usable(given):
                return given
            return self._opened(request)

    def close(self, token: str) -> None:
        """Close the session; one that is closed, gone or was never there is as good as closed."""
        if token and token != self.service.given_session and not token.startswith(_JOB):
            self.service.close_session(token)
        for record in self.records.all():
            if record.token == token:
                self.records.remove(record.lease_key)

    def usable(self, token: str | None) -> str | None:
        """The session to run a task in; None: it runs by itself."""
        return None if not token or token.startswith(_JOB) or token in self._ended else token

    def has_ended(self, token: str) -> bool:
        """Whether a session takes no jobs any longer; said once."""
        session = self.service.session(token)
        if session is not None and session.is_open:
            return False
        if token not in self._ended:
            state = "unknown to the service" if session is None else session.state
            self.ctx.log.warning("session.ended", session=token, state=state, tasks="run without a session")
            self._ended.add(token)
        return True

    def listed(self) -> Sequence[Session]:
        """The sessions that are open on this processor: those of our leases, and others of the same credential."""
        listing = self._listing()
        found: list[Session] = []
        for record in list(self.records.all()):
            with self._turns.of(record.lease_key):
                now = self.records.find(record.lease_key)
                token = now and self._still(now, listing)
                if now and token:
                    found.append(Session(token=token, lease_key=now.lease_key, tags=now.tags))
        ours = {one.token for one in found}
        return [*found, *(Session(token=one) for one in listing or () if one not in ours)]

    # -- one session

    def _still(self, record: Record, listing: Sequence[str] | None = None) -> str | None:
        """The token of the session of *record* if it is open; if it is not, nor can come, the record goes, too."""
        token = record.token
        if token is None and (token := self._found(record)):
            self.records.write(evolve(record, token=token))
        if token and (token.startswith(_JOB) or (listing and token in listing) or self._is_usable(token)):
            return token
        if token or record.age_s > _LATE_S:
            self.records.remove(record.lease_key)
        return None

    def _is_usable(self, token: str) -> bool:
        session = self.service.session(token)
        return session is not None and session.is_worth_keeping

    def _opened(self, request: AcquireRequest) -> str:
        most_s = self.ctx.settings.session_max_ttl
        max_ttl_s = most_s if request.max_s is None else max(1, min(most_s, math.ceil(request.max_s)))
        for mode in _MODES[_MODES.index(self.ctx.settings.session_mode) :]:
            if mode in self._refused:
                continue
            record = self._intended(request, mode, max_ttl_s)
            try:
                token = self._asked_for(record)
            except RequestRefused as exc:
                self.records.remove(request.lease_key)
                if not _is_plan(exc):
                    raise
                self._refused.add(mode)
                taken = next(one for one in _MODES[_MODES.index(mode) + 1 :] if one not in self._refused)
                self.ctx.log.warning("session.refused", mode=mode, taken=taken, reason=exc.detail)
            else:
                self.records.write(evolve(record, token=token))
                return token
        raise AssertionError("unreachable")  # nobody refuses what is not asked for

    def _intended(self, request: AcquireRequest, mode: str, max_ttl_s: int) -> Record:
        """The record of a session that is about to be asked for, written.

        The service gives no session a name of ours. So no two that we know of have the same `max_ttl`: a second more or
        less tells them apart.
        """
        with self._choosing:
            known = {one.max_ttl_s for one in self.records.all()}
            longer = range(max_ttl_s, self.ctx.settings.session_max_ttl + 1)
            near = (one for one in itertools.chain(longer, range(max_ttl_s - 1, 0, -1)) if one not in known)
            ttl_s = next(near, max_ttl_s)
            record = Record(lease_key=request.lease_key, mode=mode, max_ttl_s=ttl_s, tags=request.tags)
            self.records.write(record)
        return record

    def _asked_for(self, record: Record) -> str:
        """Open it. A lost answer is looked for before anything is sent again."""
        if record.mode == "job":
            return f"{_JOB}{uuid.uuid4()}"
        for is_last in (False, True):
            try:
                return self.service.open_session(record.mode, record.max_ttl_s)
            except (OutcomeUnknown, UnexpectedReply) as exc:
                if found := self._looked_for(record, exc):
                    self.ctx.log.info("session.found", session=found, cause=exc.detail)
                    return found
                if is_last or not isinstance(exc, OutcomeUnknown):
                    raise
        raise AssertionError("unreachable")

    # -- found again

    def _looked_for(self, record: Record, lost: OutcomeUnknown | UnexpectedReply) -> str | None:
        """Raises: OutcomeUnknown: it cannot be looked for; whatever forbids that, one may have been opened."""
        try:
            return self._found(record)
        except (ResourceError, ConfigError) as exc:
            raise OutcomeUnknown(self.ctx.name, f"{lost.detail}; looking for it: {exc}") from exc

    def _found(self, record: Record) -> str | None:
        """The session that *record* was written for: open, unused, as old as the record, and nobody else's.

        It has the life that was asked for; or a shorter one that nobody asked for, because a plan may cut it. Where
        several could be it, none is taken: without a job a session ends by itself.
        """
        if record.mode not in _WORKLOADS:
            return None
        oldest_s = record.age_s + _CLOCK_S
        taken = {one.token for one in self.records.all()}
        asked_for = {one.max_ttl_s for one in self.records.all()}
        lives: dict[str, float] = {}
        with suppress(RequestRefused):  # an instance without the list
            for one in self.service.workloads(_WORKLOADS[record.mode]):
                is_young = one.age_s is None or one.age_s < oldest_s
                if one.backend == self.service.device and one.id not in taken and is_young:
                    session = self.service.session(one.id)
                    if session and session.is_open and not session.is_used:
                        lives[one.id] = session.max_ttl_s or 0
        whole = [one for one, life_s in lives.items() if life_s == record.max_ttl_s]
        cut = [one for one, life_s in lives.items() if life_s < record.max_ttl_s and life_s not in asked_for]
        matching = whole or cut
        if len(matching) > 1:
            self.ctx.log.warning("session.ambiguous", sessions=matching, max_ttl_s=record.max_ttl_s)
        return matching[0] if len(matching) == 1 else None

    def _listing(self) -> list[str] | None:
        """The open sessions on this processor; None: the instance has no such list."""
        try:
            return list(self._on_device())
        except RequestRefused:
            return None

    def _on_device(self) -> Iterator[str]:
        for mode in _WORKLOADS.values():
            for one in self.service.workloads(mode):
                if one.backend == self.service.device:
                    yield one.id


def _is_plan(exc: RequestRefused) -> bool:
    words = exc.detail.lower()
    return exc.code == _REFUSED_BY_PLAN or ("session" in words and "plan" in words)
