"""A vendor whose backend breaks the contract: what a file ``garbage-VERB`` names is what the verb does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import fakevendor

from qrmi_core import Backend, ResourceUnavailable, TaskState, TaskStatus

VERBS = ("acquire", "release", "sessions", "task_start", "task_status", "task_usage", "task_logs", "metadata", "target")


class Evil(fakevendor.Fake):
    """Does as the fake vendor does, and then something else."""

    def _garbage(self, what: str, answer: Any) -> Any:
        key = self.ctx.settings.api_key
        match what:
            case "cancelled":
                raise asyncio.CancelledError("by the backend")
            case "interrupted":
                raise KeyboardInterrupt
            case "refusal":
                raise ResourceUnavailable(self.ctx.name, f"401 for {key}")
            case "none":
                return None
            case "dict":
                return {"id": answer}
            case "surrogate":
                return f"{answer}\ud800"
            case "key":
                return f"the key is {key}"
            case "keys":
                return {"url": f"https://x/?key={key}"}
            case "failed":
                return TaskState(TaskStatus.FAILED, f"401 for {key} \ud800")
        raise AssertionError(what)


def _evil(verb: str) -> Callable[..., Any]:
    def does(self: Evil, *args: Any, **facts: Any) -> Any:
        answer, path = getattr(super(Evil, self), verb)(*args, **facts), self.service / f"garbage-{verb}"
        return self._garbage(path.read_text(), answer) if path.exists() else answer

    return does


for _verb in VERBS:
    setattr(Evil, _verb, _evil(_verb))

BACKEND = Backend(contract=1, settings=fakevendor.Settings, payloads={fakevendor.KIND}, open=Evil)
