"""What an emulated quantum processor computes with: a resource of type `local`, opened in this process."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from qrmi_core import Context, Hosted, Opening, Payload, PayloadError, QrmiError, TaskNotFound, kinds, log, registry
from qrmi_core.host import load_settings
from qrmi_core.polling import SystemClock

_WAIT_S = 3600.0
_NOTHING = 'OPENQASM 3.0; include "stdgates.inc"; qubit[1] q; bit[1] meas; meas = measure q;'


class SimulationFailed(Exception):
    """The circuit could not be executed; the text says why."""


class Simulator:
    """Executes payloads for real. Its results are those of `qrmi_local`, in the form that the payload asks for."""

    def __init__(self, settings: Mapping[str, str], threads: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="qrmi-emulator-"))
        backend = registry.backend("local")
        opening = Opening(name="emulator", type="local", environment=settings, source="the emulator")
        ctx = Context(
            name="emulator",
            type="local",
            settings=load_settings(backend, opening),
            log=log.logger(part="emulator"),
            clock=SystemClock(),
            state_dir=self._folder,
        )
        self._resource = Hosted(backend, ctx)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="emulator")
        self._unwanted: set[str] = set()
        self.is_closing = False
        """What is cancelled need not be stopped by itself any more."""

    async def run(self, job_id: str, payload: Payload) -> tuple[bytes, str]:
        """The result and the log of *payload*. Cancelling ends the simulation.

        Raises:
            SimulationFailed: it cannot be executed.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, self._run, job_id, payload)
        except asyncio.CancelledError:
            if not self.is_closing:
                self._unwanted.add(job_id)
                await asyncio.shield(loop.run_in_executor(None, self._stop, job_id))
            raise

    async def warm(self) -> None:
        """Let the first job find everything started."""
        call = {"program_id": "sampler", "parameters": {"pubs": [[_NOTHING, None, 1]], "version": 2}}
        with suppress(SimulationFailed):
            await self.run("warming", Payload.from_json(kinds.PRIMITIVE, call))

    def _run(self, job_id: str, payload: Payload) -> tuple[bytes, str]:
        if self.is_closing:
            raise SimulationFailed("the emulator ends")
        try:
            task_id = self._resource.task_start(payload, key=job_id)
            if job_id in self._unwanted:
                self._resource.task_stop(task_id)
            self._resource.task_wait(task_id, _WAIT_S)
            return self._resource.task_result(task_id), self._resource.task_logs(task_id)
        except PayloadError as exc:
            raise SimulationFailed(f"{exc.path}: {exc.problem}") from exc
        except QrmiError as exc:
            raise SimulationFailed(getattr(exc, "detail", "") or str(exc)) from exc

    def _stop(self, job_id: str) -> None:
        task_id = self._resource.find_task(job_id)
        with suppress(TaskNotFound):
            if task_id is not None:
                self._resource.task_stop(task_id)

    def close(self) -> None:
        """End the simulator's processes, and forget all that was computed."""
        self.is_closing = True
        self._resource.close()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._resource.close()  # again: a job that began meanwhile has started the simulator anew
        shutil.rmtree(self._folder, ignore_errors=True)
