"""Every error of ours, as one tree of plain exception classes.

    QrmiError
      ConfigError              a file, option or variable is wrong
      BackendError             a backend cannot be loaded                     .type
        BackendNotInstalled    BackendBroken    BackendConflict
      PayloadError             what was asked to run is wrong                 .source .path
      ResourceError            about one resource                            .resource
        NotOffered             ResourceUnavailable   BrokerUnavailable
        OutcomeUnknown         RequestRefused                           .status .code .solution
        AcquireTimeout         AuthenticationFailed  AuthorizationRefused
        UnexpectedReply        BackendFault
      TaskError                about one task                                .resource .task_id
        TaskNotFound           TaskNotReady          TaskFailed
        TaskCancelled          TaskTimeLimit
      ResultNotSaved           the task completed, but its result is not where it was asked for

An error keeps facts in fields and builds its sentence in ``__str__``: what happened, to which thing, what to do now. It
ends with the anchor of its entry in the reference. Fields travel through pickle, because they are the positional
arguments. Nothing here imports anything: the command line can fail without paying for a library.
"""

from __future__ import annotations

import re


def shown(text: object, most: int = 300) -> str:
    """*text* as messages show it: on one line, printable, and cut in its middle where it is longer than *most*.

    What we quote was written by others: it must neither drive the reader's terminal nor fill it.
    """
    words = str(text)
    if len(words) > most:
        words = f"{words[: most // 2 - 3]} ... {words[-most // 2 + 2 :]}"
    return "".join(one if one.isprintable() else " " if one.isspace() else ascii(one)[1:-1] for one in words)


class QrmiError(Exception):
    """The root: catch this to catch everything that we raise on purpose."""

    exit_status: int = 1
    """What a command ends with when this error ends it."""

    @classmethod
    def anchor(cls) -> str:
        """The id of this error's entry on the page ``reference/errors`` of the documentation.

        A class that is not of this module, such as a backend's own, has that of the nearest one above it.
        """
        ours = next(one for one in cls.__mro__ if one.__module__ == __name__)
        return "error-" + re.sub(r"(?<=[a-z])(?=[A-Z])", "-", ours.__name__).lower()

    def sentence(self) -> str:
        """What happened, to which thing, and what to do now, without the anchor."""
        return ": ".join(str(arg) for arg in self.args)

    def __str__(self) -> str:
        return f"{shown(self.sentence(), most=2000)} [{self.anchor()}]"


class ConfigError(QrmiError):
    """A configuration file, an option or an environment variable is wrong. Retrying cannot help.

    All faults of one source are reported at once.
    """

    exit_status = 2

    def __init__(self, source: str, faults: tuple[tuple[str, str, str], ...]) -> None:
        """*source*: the file, variable or option; *faults*: ``(path, problem, remedy)`` of each."""
        super().__init__(source, faults)
        self.source = source
        self.faults = faults

    @classmethod
    def one(cls, source: str, path: str, problem: str, remedy: str) -> ConfigError:
        """The common case of a single fault."""
        return cls(source, ((path, problem, remedy),))

    def sentence(self) -> str:
        lines = [
            ": ".join(part for part in (shown(self.source), shown(path), shown(problem, most=1000)) if part)
            + f". {shown(remedy, most=1000)}"
            for path, problem, remedy in self.faults
        ]
        return "\n".join(lines)

    def __str__(self) -> str:
        return f"{self.sentence()} [{self.anchor()}]"


class BackendError(QrmiError):
    """A backend, the plugin of one type, cannot be used at all."""

    exit_status = 2

    def __init__(self, type_: str, detail: str) -> None:
        super().__init__(type_, detail)
        self.type = type_
        self.detail = detail


class BackendNotInstalled(BackendError):
    """No installed distribution provides this resource type. ``detail`` says which one to install."""

    def sentence(self) -> str:
        return f"type {self.type!r}: no installed backend provides it. {self.detail}"


class BackendBroken(BackendError):
    """A distribution provides this type, but its plugin cannot be loaded or breaks the contract."""

    def sentence(self) -> str:
        return (
            f"type {self.type!r}: {self.detail}. Mend or uninstall that distribution; `qrmi doctor` lists all of them"
        )


class BackendConflict(BackendError):
    """Two or more distributions provide the same type."""

    def sentence(self) -> str:
        return f"type {self.type!r}: provided by {self.detail}. Uninstall all but one of them"


class PayloadError(QrmiError):
    """What was asked to run is wrong. Nothing was submitted; mend the payload and submit again.

    ``path`` is a JSON path into the payload (``$.parameters.pubs[0][2]``), or empty where the whole file is meant.
    """

    exit_status = 2

    def __init__(self, source: str, path: str, problem: str, remedy: str) -> None:
        super().__init__(source, path, problem, remedy)
        self.source = source
        self.path = path
        self.problem = problem
        self.remedy = remedy

    def sentence(self) -> str:
        what = ": ".join(shown(part) for part in (self.source, self.path, self.problem) if part)
        return f"{what}. {shown(self.remedy).rstrip('.')}. Nothing was submitted"


class ResourceError(QrmiError):
    """Something is wrong with one resource. Subclasses say what."""

    exit_status = 3
    is_in_doubt: bool = False
    """An earlier try of the request that ended so got no answer, and may have been done all the same."""

    def __init__(self, resource: str, detail: str) -> None:
        super().__init__(resource, detail)
        self.resource = resource
        self.detail = detail


class NotOffered(ResourceError):
    """The backend of this resource does not have this optional verb. ``detail`` names the verb."""

    exit_status = 2

    def sentence(self) -> str:
        return f"{self.resource}: its backend does not offer {self.detail}. Ask another resource, or do without"


class ResourceUnavailable(ResourceError):
    """The resource cannot be reached or does not accept work at the moment. A later try may succeed."""

    def sentence(self) -> str:
        return f"{self.resource}: unavailable: {self.detail}. Try again later, or another resource: `qrmi resources`"


class BrokerUnavailable(ResourceUnavailable):
    """Nobody answers on the socket of the broker or of this node's relay. ``detail`` names the socket."""

    def sentence(self) -> str:
        return f"{self.resource}: {self.detail}. Try again later; if it lasts, tell the administrators of this site"


class OutcomeUnknown(ResourceUnavailable):
    """A request that must not be sent twice may have been done: it was sent, and no answer says what became of it."""

    def sentence(self) -> str:
        return (
            f"{self.resource}: whether it was done is not known: {self.detail}. "
            "Look for it before you send it again, or send it with the same --key"
        )


class RequestRefused(ResourceError):
    """The service refused a request. ``status`` is HTTP's; ``code`` and ``solution`` are the service's, or empty.

    ``retry_after_s`` is how long it asks to be left alone.
    """

    def __init__(  # noqa: PLR0917 - the facts of an error travel as its positional arguments
        self,
        resource: str,
        detail: str,
        status: int = 0,
        code: str = "",
        solution: str = "",
        retry_after_s: float = 0.0,
    ) -> None:
        QrmiError.__init__(self, resource, detail, status, code, solution, retry_after_s)
        self.resource = resource
        self.detail = detail
        self.status = status
        self.code = code
        self.solution = solution
        self.retry_after_s = retry_after_s

    def sentence(self) -> str:
        remedy = self.solution or "See the service's documentation, or ask the administrators of this site"
        return f"{self.resource}: the service refused it: {self.detail}. {remedy}"


class AcquireTimeout(ResourceError):
    """Others held the resource for as long as we were willing to wait. ``detail`` says how long and who, if known."""

    def sentence(self) -> str:
        return f"{self.resource}: still held by others: {self.detail}. Try again later, or allow more time"


class AuthenticationFailed(ResourceError):
    """The service behind the resource refused the credential, or there is none."""

    exit_status = 4

    def sentence(self) -> str:
        return (
            f"{self.resource}: authentication failed: {self.detail}. "
            "Check the credential in the resource's configuration"
        )


class AuthorizationRefused(ResourceError):
    """A ``qrmi_authorize`` hook refused this run the resource, or could not decide: hooks fail closed."""

    exit_status = 4

    def sentence(self) -> str:
        return f"{self.resource}: not authorised: {self.detail}. Ask the administrators of this site"


class BackendFault(ResourceError):
    """The backend raised what the contract does not allow. ``detail`` is the exception and the verb."""

    def sentence(self) -> str:
        return (
            f"{self.resource}: its backend failed: {self.detail}. "
            "Report this to the backend's maintainers, with QRMI_LOG_LEVEL=debug for the place"
        )


class UnexpectedReply(ResourceError):
    """The service answered something that its documentation does not allow."""

    def sentence(self) -> str:
        return (
            f"{self.resource}: unexpected reply: {self.detail}. "
            "Report this to the backend's maintainers; the service may have changed"
        )


class TaskError(QrmiError):
    """Something is wrong with one task."""

    def __init__(self, resource: str, task_id: str, detail: str = "") -> None:
        super().__init__(resource, task_id, detail)
        self.resource = resource
        self.task_id = task_id
        self.detail = detail


class TaskNotFound(TaskError):
    """The resource knows no task of this id, or no longer. ``detail`` says who else was not asked, and why."""

    def sentence(self) -> str:
        where = f" ({self.detail})" if self.detail else ""
        remedy = "Check the id; finished tasks are forgotten after a while"
        return f"{self.resource}: no task {self.task_id!r}{where}. {remedy}"


class TaskNotReady(TaskError):
    """The task has no result yet. ``detail`` is its present status."""

    def sentence(self) -> str:
        remedy = f"Wait until it ends: `qrmi task status {self.task_id}`"
        return f"{self.resource}: task {self.task_id} has no result yet ({self.detail}). {remedy}"


class TaskFailed(TaskError):
    """The task ended without a result. ``detail`` is the reason that the backend gave."""

    def sentence(self) -> str:
        remedy = "Mend the cause, then submit it again, with another key"
        return f"{self.resource}: task {self.task_id} failed: {self.detail}. {remedy}"


class TaskCancelled(TaskError):
    """The task was stopped before it completed. ``detail`` says by whom or why, where that is known."""

    def sentence(self) -> str:
        cause = f": {self.detail}" if self.detail else ""
        remedy = "Submit it again, with another key, if that was not intended"
        return f"{self.resource}: task {self.task_id} was cancelled{cause}. {remedy}"


class TaskTimeLimit(TaskError):
    """The time limit passed before the task ended; the task was cancelled. ``detail`` is the limit."""

    exit_status = 124

    def sentence(self) -> str:
        return f"{self.resource}: task {self.task_id} was cancelled at the time limit of {self.detail}. Raise --timeout"


class ResultNotSaved(QrmiError):
    """The task completed, but its result could not be written where it was asked for. It was kept elsewhere."""

    def __init__(self, output: str, cause: str, kept_at: str) -> None:
        super().__init__(output, cause, kept_at)
        self.output = output
        self.cause = cause
        self.kept_at = kept_at

    def sentence(self) -> str:
        return (
            f"{self.output}: the result could not be written: {self.cause}. "
            f"The task completed and its result is kept in {self.kept_at}: move it from there"
        )
