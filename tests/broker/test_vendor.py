"""What is known of a call that was not answered: whether it may have reached the vendor."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

from qrmi_broker.vendor import NotSent, Vendor
from qrmi_core import protocol
from qrmi_core.errors import ResourceUnavailable


def failures(calls: int) -> list[type]:
    """How so many calls of a vendor that hangs end, one after the other; it has eight threads."""
    goes_on, reached = threading.Event(), []

    def hang(number: int) -> None:
        reached.append(number)
        goes_on.wait(20)

    async def call() -> list[type]:
        made = Vendor(SimpleNamespace(name="fez"), None)
        made._opened = asyncio.get_running_loop().create_future()
        made._opened.set_result(SimpleNamespace(hang=hang))
        calling = [asyncio.create_task(made.call("hang", number, answer_s=0.5)) for number in range(calls)]
        ended = await asyncio.gather(*calling, return_exceptions=True)
        goes_on.set()
        await asyncio.sleep(0.2)
        return [type(one) for one in ended]

    found = asyncio.run(call())
    assert list(range(8)) == sorted(reached)
    return found


def test_what_waited_in_vain_was_not_sent():
    """A task or a lease would be of unknown outcome that the vendor has never heard of, or be made after all."""
    assert [ResourceUnavailable] * 8 + [NotSent] * 4 == failures(12)


def test_the_client_knows_it_as_unavailable():
    """It would be told of an unexpected reply, and its user be sent to an entry that the reference lacks."""
    document = protocol.document_of(NotSent("fez", "it cannot be opened"))

    assert "ResourceUnavailable" == document["error"]
    assert document["message"].endswith(" [error-resource-unavailable]")


def test_submissions_that_hang_keep_no_lease_waiting():
    """Two users with four of them each would take the resource from all others."""
    goes_on = threading.Event()

    async def call() -> str:
        made = Vendor(SimpleNamespace(name="fez"), None)
        made._opened = asyncio.get_running_loop().create_future()
        made._opened.set_result(SimpleNamespace(task_start=lambda: str(goes_on.wait(20)), acquire=lambda: "session"))
        sending = [asyncio.create_task(made.call("task_start", answer_s=None)) for _ in range(9)]
        await asyncio.sleep(0)
        answer = await made.call("acquire", answer_s=10)
        goes_on.set()
        await asyncio.gather(*sending)
        return answer

    assert "session" == asyncio.run(call())
