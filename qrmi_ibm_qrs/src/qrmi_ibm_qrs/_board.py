"""What is known of the jobs that somebody follows: with several of them, one listing answers for all."""

from __future__ import annotations

import threading
from collections import OrderedDict

from attrs import define, field

from qrmi_core import AuthenticationFailed, RequestRefused, TaskStatus
from qrmi_core.polling import Clock
from qrmi_ibm_qrs._api import Service
from qrmi_ibm_qrs._wire import Job

_FEW = 4
"""So many jobs that are followed at the same time are worth a listing."""
_FRESH = 0.05
"""An answer is given again for this part of the time that a job has been followed: its end is noticed in time."""
_FRESH_S = (0.05, 1.0)
"""At least, and at most."""
_FORGOTTEN_S = 30.0
"""Nobody has asked for so long: the job is no longer followed."""
_MOST_ENDED = 4096


@define(eq=False)
class _Followed:
    since: float
    asked_at: float
    told_at: float = float("-inf")
    """When the question was sent to which `job` is the answer."""
    job: Job | None = None

    def fresh(self, asked_at: float) -> Job | None:
        """The answer, if it need not be asked for again."""
        least, most = _FRESH_S
        age = min(max(least, _FRESH * (asked_at - self.since)), most)
        return self.job if self.told_at >= asked_at - age else None


@define(eq=False)
class Board:
    """The latest state of each job. Any thread may ask."""

    service: Service
    clock: Clock
    _followed: dict[str, _Followed] = field(factory=dict)
    _ended: OrderedDict[str, Job] = field(factory=OrderedDict)
    _lock: threading.Lock = field(factory=threading.Lock)
    _listing: threading.Lock = field(factory=threading.Lock)
    """Held by the thread that lists; the others then find their answers in its list."""

    def job(self, job_id: str) -> Job:
        """How the job is now, or was a moment ago. Raises as `Service.job` does."""
        asked_at = self.clock.monotonic()
        with self._lock:
            if ended := self._ended.get(job_id):
                return ended
            self._forget(asked_at)
            followed = self._followed.setdefault(job_id, _Followed(asked_at, asked_at))
            followed.asked_at = asked_at
            are_few = len(self._followed) < _FEW
        if are_few:
            return self.ask(job_id)
        with self._listing:
            if job := self._known(job_id, asked_at):
                return job
            self._list()
            job = self._known(job_id, asked_at)
        return job or self.ask(job_id)

    def ask(self, job_id: str) -> Job:
        """How the job is now."""
        with self._lock:
            if ended := self._ended.get(job_id):
                return ended
        asked_at = self.clock.monotonic()
        try:
            job = self.service.job(job_id)
        except BaseException:
            with self._lock:
                self._followed.pop(job_id, None)
            raise
        return self._note(job, asked_at)

    def amend(self, job: Job) -> None:
        """More is known of a job that has ended."""
        with self._lock:
            self._ended[job.id] = job

    def forget(self, job_id: str) -> None:
        """What is known may be wrong now: somebody asked for the job's end."""
        with self._lock:
            if followed := self._followed.get(job_id):
                followed.told_at = float("-inf")

    def _known(self, job_id: str, asked_at: float) -> Job | None:
        with self._lock:
            if ended := self._ended.get(job_id):
                return ended
            followed = self._followed.get(job_id)
            return followed.fresh(asked_at) if followed else None

    def _list(self) -> None:
        """Read the newest jobs until all that are followed were seen; who is not among them is asked for alone."""
        asked_at = self.clock.monotonic()
        with self._lock:
            left = set(self._followed)
        try:
            for page in self.service.jobs(backend=self.service.device):
                for job in page:
                    if job.id in left:
                        left.discard(job.id)
                        self._note(job, asked_at)
                if not left:
                    return
        except (AuthenticationFailed, RequestRefused):  # a credential that may read jobs, and not list them
            return

    def _note(self, job: Job, asked_at: float) -> Job:
        """Keep the answer, unless a newer one is there; a job never goes back to the queue."""
        with self._lock:
            if ended := self._ended.get(job.id):
                return ended
            followed = self._followed.setdefault(job.id, _Followed(asked_at, asked_at))
            before = followed.job
            if job.state.status.is_terminal:
                del self._followed[job.id]
                self._ended[job.id] = job
                while len(self._ended) > _MOST_ENDED:
                    self._ended.popitem(last=False)
                return job
            goes_back = before is not None and job.state.status is TaskStatus.QUEUED is not before.state.status
            if before is None or (followed.told_at <= asked_at and not goes_back):
                followed.job, followed.told_at = job, asked_at
            elif goes_back:
                followed.told_at = max(followed.told_at, asked_at)
            return followed.job or job

    def _forget(self, now: float) -> None:
        for job_id in [one for one, at in self._followed.items() if now - at.asked_at > _FORGOTTEN_S]:
            del self._followed[job_id]
