"""What a history leaves behind for its judge."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from attrs import define, field


@define
class Record:
    """What the clients asked and were told, and what was done to the broker, in the machine's monotonic time."""

    entries: list[dict[str, Any]] = field(factory=list)

    def add(self, event: str, **facts: Any) -> None:
        """It happens now."""
        self.entries.append({"event": event, "at": time.monotonic(), **facts})

    def count(self) -> Counter[str]:
        """How often each event happened."""
        return Counter(entry["event"] for entry in self.entries)
