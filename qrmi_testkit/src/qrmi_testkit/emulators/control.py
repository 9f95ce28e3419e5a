"""The emulator's own route, ``/_emulator``: for a script that runs elsewhere. It needs no token and meets no fault."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from aiohttp import web
from attrs import frozen

from qrmi_core import ConfigError
from qrmi_testkit.emulators import faults
from qrmi_testkit.emulators.refusal import as_json, invalid, no_backend

if TYPE_CHECKING:
    from qrmi_testkit.emulators.emulator import Emulator

PREFIX = "/_emulator"
_STATUSES = ("online", "paused", "offline")


@frozen
class Control:
    """What can be asked of an emulator from outside."""

    emulator: Emulator

    def routes(self) -> Iterable[web.RouteDef]:
        """Its routes."""
        yield web.get(f"{PREFIX}/faults", self.faults)
        yield web.post(f"{PREFIX}/faults", self.add_faults)
        yield web.delete(f"{PREFIX}/faults", self.clear_faults)
        yield web.get(f"{PREFIX}/requests", self.requests)
        yield web.delete(f"{PREFIX}/requests", self.clear_requests)
        yield web.post(f"{PREFIX}/clock", self.advance)
        yield web.patch(f"{PREFIX}/devices/{{name}}", self.change_device)

    async def faults(self, request: web.Request) -> web.Response:
        """The faults that will meet requests yet."""
        return web.json_response(self.emulator.faults.left)

    async def add_faults(self, request: web.Request) -> web.Response:
        """Add faults, written as on the command line."""
        try:
            self.emulator.faults.extend(faults.parse(await request.text(), "faults"))
        except ConfigError as exc:
            raise invalid(str(exc)) from exc
        return await self.faults(request)

    async def clear_faults(self, request: web.Request) -> web.Response:
        """Behave."""
        self.emulator.faults.clear()
        return web.Response(status=204)

    async def requests(self, request: web.Request) -> web.Response:
        """Every request, and how many there were to each route."""
        return web.json_response(self.emulator.requests.as_json())

    async def clear_requests(self, request: web.Request) -> web.Response:
        """Forget them."""
        self.emulator.requests.clear()
        return web.Response(status=204)

    async def advance(self, request: web.Request) -> web.Response:
        """Let time pass: ``{"advance_s": 60}``. Tokens, URLs and sessions grow old."""
        seconds = as_json(await request.text()).get("advance_s")
        if type(seconds) not in (int, float):
            raise invalid("advance_s must be a number of seconds.", "advance_s")
        self.emulator.clock.advance(float(seconds))
        return web.json_response({"now_s": self.emulator.clock.now()})

    async def change_device(self, request: web.Request) -> web.Response:
        """Change a device: ``{"status": "paused", "message": "...", "is_locked": true}``."""
        device = self.emulator.devices.get(request.match_info["name"])
        if device is None:
            raise no_backend(request.match_info["name"])
        change: dict[str, Any] = as_json(await request.text())
        status, message = change.get("status", device.status), change.get("message", device.message)
        is_locked = change.get("is_locked", device.is_locked)
        if change.keys() - {"status", "message", "is_locked"} or status not in _STATUSES:
            raise invalid(f"Give status ({', '.join(_STATUSES)}), message and is_locked.", "status")
        if type(message) is not str or type(is_locked) is not bool:
            raise invalid("message is text, and is_locked true or false.")
        device.status, device.message, device.is_locked = status, message, is_locked
        return web.json_response({"status": status, "message": message, "is_locked": is_locked})
