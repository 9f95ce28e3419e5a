"""The objects of a task in the storage: its input, its results, its log, and what we remember of it.

The service forgets a job when it is deleted, and it must be deleted, or its lane stays taken. So what became of it is
written into the storage before: any process that has the credential finds it there by the task's id. The input is the
permission to run: it is there before a job is submitted, and gone when it has ended, so that a submission which arrives
late cannot run a second time.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from qrmi_core import Context, QrmiError, UnexpectedReply
from qrmi_core.door import Body
from qrmi_ibm_da._storage import Storage
from qrmi_ibm_da._wire import Record, submission
from qrmi_ibm_da.settings import MOST_URL_S, Settings

_DAY_S = 86_400
_RECORD = "job_"


def _key(what: str, task_id: str) -> str:
    return f"{what}_{task_id}.json"


class Objects:
    """Of all tasks of one bucket."""

    def __init__(self, ctx: Context, settings: Settings) -> None:
        self._name = ctx.name
        self._log = ctx.log
        self._settings = settings
        self._storage = Storage(ctx, settings)
        self._tidied: Path = ctx.state_dir / "tidied"

    def record(self, task_id: str) -> Record | None:
        """What we remember of the task."""
        content = self._storage.get(_key("job", task_id))
        try:
            return None if content is None else Record.decoded(content)
        except ValueError as exc:
            raise UnexpectedReply(self._name, f"storage: {_key('job', task_id)} is none of ours: {exc}") from exc

    def remember(self, task_id: str, record: Record) -> None:
        """Write *record* over what we remembered."""
        self._storage.put(_key("job", task_id), Body.of(record.encoded(), "application/json"))

    def add(self, task_id: str, record: Record, parameters: Body) -> bool:
        """Store what a new task needs; False: another process did so, and it has ended. A failure leaves nothing."""
        try:
            self._storage.put(_key("input", task_id), parameters)
            if self._storage.put_new(_key("job", task_id), Body.of(record.encoded(), "application/json")):
                return True
            known = self.record(task_id)
            if known is None:
                self.remember(task_id, record)
        except QrmiError:
            self.drop(task_id)
            raise
        if known is None or known.end is None:
            return True
        self.forbid(task_id)
        return False

    def drop(self, task_id: str) -> None:
        """Remove all there is of a task that was not submitted, as far as the storage lets us."""
        for what in ("input", "job"):
            with suppress(QrmiError):  # whoever called us has a better reason to tell
                self._storage.remove(_key(what, task_id))

    def submission(self, task_id: str, record: Record) -> dict[str, Any]:
        """The request that makes the job; the service's access to the storage outlives its queue and the execution."""
        lifetime_s = min(MOST_URL_S, self._settings.queue_seconds + record.timeout_s)
        urls = {
            what: self._storage.url(method, _key(what, task_id), lifetime_s)
            for what, method in (("input", "GET"), ("results", "PUT"), ("logs", "PUT"))
        }
        return submission(task_id, record, log_level=self._settings.log_level, urls=urls)

    def forbid(self, task_id: str) -> None:
        """Remove the input: the task does not run again."""
        self._storage.remove(_key("input", task_id))

    def has(self, what: str, task_id: str) -> bool:
        """Whether there is its ``input``, its ``results`` or its ``logs``."""
        return self._storage.has(_key(what, task_id))

    def is_input(self, url: str, task_id: str) -> bool:
        """*url* is that of the task's input in this bucket."""
        return urlsplit(url).path.endswith(f"/{self._settings.s3_bucket}/{_key('input', task_id)}")

    def result(self, task_id: str) -> bytes | None:
        """What the service computed."""
        return self._storage.get(_key("results", task_id))

    def logs(self, task_id: str) -> bytes | None:
        """What the service logged."""
        return self._storage.get(_key("logs", task_id))

    def tidy(self) -> None:
        """Once a day, remove what is left of tasks that nobody has asked for since `keep_days`."""
        with suppress(OSError):
            if time.time() - self._tidied.stat().st_mtime < _DAY_S:
                return
        try:
            self._tidied.touch()
            for key, age_s in self._storage.listed(_RECORD):
                if age_s > self._settings.keep_days * _DAY_S:
                    task_id = key.removeprefix(_RECORD).removesuffix(".json")
                    for what in ("input", "results", "logs", "job"):  # the record last: it leads to the others
                        self._storage.remove(_key(what, task_id))
        except (QrmiError, OSError) as exc:
            self._log.warning("storage.not_tidied", error=str(exc))

    def close(self) -> None:
        """Close the connections."""
        self._storage.close()
