"""The broker: its parts, and how they start and stop together."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import define, field

from qrmi_broker import records
from qrmi_broker.leases import Leases
from qrmi_broker.ledger import Ledger, LedgerUnavailable
from qrmi_broker.metrics import Metrics
from qrmi_broker.orphans import Orphans
from qrmi_broker.permission import Permission
from qrmi_broker.reconciler import Reconciler
from qrmi_broker.scheduler import Scheduler
from qrmi_broker.spool import KEPT_S, Spool
from qrmi_broker.tasks import Tasks
from qrmi_broker.tokens import Tokens
from qrmi_broker.vendor import Vendor
from qrmi_core import config, job, log

_TIDY_S = 3600.0

_log = log.logger(part="broker")


@define(eq=False)
class Broker:
    """Everything that one `qrmid` holds."""

    config: config.Config
    ledger: Ledger
    vendors: dict[str, Vendor]
    leases: Leases
    tasks: Tasks
    spool: Spool
    tokens: Tokens
    reconciler: Reconciler
    metrics: Metrics
    started_at: float = field(factory=time.time)
    in_flight: Counter[int] = field(factory=Counter)
    """Bytes of payloads that are being sent, by user."""
    _background: list[asyncio.Task[Any]] = field(factory=list)

    @classmethod
    def of(cls, config_path: Path, state: Path, scheduler: Scheduler, *, every_s: float) -> Broker:
        """Read the configuration and put the parts together; nothing runs yet.

        Raises:
            ConfigError: the configuration has faults.
            LedgerUnavailable: the ledger cannot be opened.
        """
        loaded = config.load(config_path)
        metrics = Metrics()
        vendors = {
            entry.name: Vendor(entry, opening, metrics.vendor_called)
            for entry, opening in zip(loaded.resources, job.configured(config_path), strict=True)
        }
        spool = Spool(state / "spool")
        spool.folder.mkdir(mode=0o700, exist_ok=True)
        ledger = Ledger(state / "ledger.sqlite", metrics.ledger_committed)
        ledger.open()
        leases = Leases(ledger, vendors, Permission(loaded))
        tasks = Tasks(ledger, vendors, spool, metrics.task_ended)
        leases.settle = tasks.settle
        return cls(
            config=loaded,
            ledger=ledger,
            vendors=vendors,
            leases=leases,
            tasks=tasks,
            spool=spool,
            tokens=Tokens.kept_in(state / "token.key"),
            reconciler=Reconciler(leases, scheduler, every_s),
            metrics=metrics,
        )

    async def start(self) -> None:
        """Take up what the ledger holds, then watch over it."""
        for row in await self.ledger.do(records.drains):
            if row["resource"] in self.vendors:
                self.vendors[row["resource"]].drained = row["reason"]
        await self.tasks.restore()
        self.spool.tidy(self.tasks.open_ids, is_used=False)  # before any of them goes on
        await self.leases.restore()
        orphans = Orphans(self.ledger, self.vendors)
        self._background = [asyncio.create_task(one) for one in (self.reconciler.run(), orphans.run(), self._tidy())]
        _log.info("broker.started", resources=sorted(self.vendors), leases=sum(1 for _ in self.leases))

    async def stop(self) -> None:
        """Stop looking; leases and tasks go on, and are taken up at the next start."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.leases.debts.pay()
        for vendor in self.vendors.values():
            await vendor.close()
        await asyncio.to_thread(self.ledger.close)
        _log.info("broker.stopped")

    async def drain(self, name: str, reason: str | None) -> None:
        """Give no more leases on *name*, for *reason*; with None, give them again. It outlives a restart."""
        await self.ledger.do(lambda db: records.set_drain(db, name, reason))
        self.vendors[name].drained = reason
        _log.info("resource.drained" if reason else "resource.resumed", resource=name, reason=reason)

    async def _tidy(self) -> None:
        while True:
            with suppress(LedgerUnavailable):
                await self.ledger.do(lambda db: records.forget_results(db, time.time() - KEPT_S))
            await asyncio.sleep(_TIDY_S)
            await asyncio.to_thread(self.spool.tidy, self.tasks.open_ids)
