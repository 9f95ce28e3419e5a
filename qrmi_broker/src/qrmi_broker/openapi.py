"""The protocol as an OpenAPI document, made from the server's routes and what each handler says of itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from aiohttp import web
from attrs import field, frozen

from qrmi_broker import admin, leaserequest, public
from qrmi_core import protocol
from qrmi_core.models import TaskStatus

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_MAYBE_NUMBER: Schema = {"type": ["number", "null"]}


def _object(required: Mapping[str, Schema], **optional: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **optional}}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _bounded(where: str, *types: str) -> Schema:
    """The number of a lease request at *where*."""
    least, most = leaserequest.BOUNDS[where]
    return {"type": types[0] if len(types) == 1 else list(types), "minimum": least, "maximum": most}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


SCHEMAS: dict[str, Schema] = {
    "Error": _object({"error": _TEXT, "facts": {"type": "array"}, "message": _TEXT}),
    "Resource": _object(
        {
            "name": _TEXT,
            "type": _TEXT,
            "description": _TEXT,
            "lanes": {"type": ["integer", "null"]},
            "free": {"type": "boolean"},
            "drained": _MAYBE_TEXT,
        },
        payloads=_list(_TEXT),
        settings={"type": "object", "additionalProperties": _TEXT},
        is_accessible={"type": "boolean"},
    ),
    "Task": _object(
        {
            "id": _TEXT,
            "status": {"enum": [status.value for status in TaskStatus]},
            "reason": _MAYBE_TEXT,
            "queue_position": {"type": ["integer", "null"]},
            "progress": _MAYBE_NUMBER,
        },
        result={"type": "string", "contentEncoding": "base64"},
    ),
    "Run": _object(
        {"uid": _bounded("run.uid", "integer"), "job_id": {**_TEXT, "minLength": 1}},
        cluster=_MAYBE_TEXT,
        restart_count=_bounded("run.restart_count", "integer"),
        start_time=_bounded("run.start_time", "integer", "null"),
    ),
    "Wanted": _object({"name": _TEXT}, alias=_MAYBE_TEXT, exclusive={"type": "boolean"}, own={"type": "boolean"}),
    "Facts": _object(
        {},
        **dict.fromkeys(("user", "account", "partition", "qos", "node"), _MAYBE_TEXT),
        time_limit_s=_bounded("facts.time_limit_s", "number", "null"),
        licences={"type": ["array", "null"], "items": _TEXT},
    ),
    "LeaseRequest": _object(
        {"run": _ref("Run"), "resources": {**_list(_ref("Wanted")), "minItems": 1}},
        facts=_ref("Facts"),
        wait_s=_bounded("wait_s", "number"),
    ),
    "Lease": _object(
        {"id": _TEXT, "state": {"enum": ["pending", "granted", "failed", "released"]}},
        environment={"type": "object", "additionalProperties": _TEXT},
        warnings=_list(_TEXT),
        error=_TEXT,
        detail=_ref("Error"),
    ),
}


@frozen(kw_only=True)
class _Operation:
    """What a handler's signature cannot say."""

    answers: Mapping[int, Schema | None] = field(factory=dict)
    """Status -> schema of the JSON; None: no JSON."""
    content: str = "application/json"
    query: Mapping[str, Schema] = field(factory=dict)
    headers: Mapping[str, Schema] = field(factory=dict)
    body: Schema | None = None
    is_payload: bool = False


_WAIT = {"wait_s": {"type": "number", "minimum": 0, "maximum": protocol.MOST_WAIT_S}}
_PAYLOAD_HEADERS = {protocol.KIND_HEADER: _TEXT, protocol.SOURCE_HEADER: _TEXT}
_LEASE_ANSWERS = dict.fromkeys((200, 202, 409, 410), _ref("Lease"))
_FILE: Schema = {"type": "string", "format": "binary"}

_OPERATIONS: dict[Any, _Operation] = {
    public.list_resources: _Operation(answers={200: _object({"resources": _list(_ref("Resource"))})}),
    public.show_resource: _Operation(answers={200: _ref("Resource")}, query={"check": {"enum": ["1"]}}),
    public.target: _Operation(answers={200: {}}),
    public.metadata: _Operation(answers={200: {"type": "object", "additionalProperties": _TEXT}}),
    public.start_task: _Operation(
        answers={201: _object({"id": _TEXT})},
        headers={protocol.KEY_HEADER: _TEXT, **_PAYLOAD_HEADERS},
        is_payload=True,
    ),
    public.find_task: _Operation(answers={200: _object({"id": _MAYBE_TEXT})}, query={"key": _TEXT}),
    public.plan_task: _Operation(answers={200: {"type": "object"}}, headers=_PAYLOAD_HEADERS, is_payload=True),
    public.show_task: _Operation(answers={200: _ref("Task")}, query={**_WAIT, "result": {"enum": ["1"]}}),
    public.stop_task: _Operation(answers={204: None}),
    public.task_result: _Operation(answers={200: _FILE}, content="application/octet-stream"),
    public.task_logs: _Operation(answers={200: _TEXT}, content="text/plain"),
    public.task_usage: _Operation(answers={200: _object({"qpu_s": _NUMBER})}),
    admin.ask: _Operation(
        answers=_LEASE_ANSWERS, query={"watch": {"pattern": r"^(1|[0-9]{1,9}:[0-9]{1,9})$"}}, body=_ref("LeaseRequest")
    ),
    admin.show: _Operation(answers=_LEASE_ANSWERS),
    admin.release: _Operation(
        answers=dict.fromkeys((200, 202), _object({"state": {"enum": ["released", "releasing"]}})),
        query={"wait_s": {"type": "number", "minimum": 0, "maximum": 3600}, "reason": _TEXT, "force": {"enum": ["1"]}},
    ),
    admin.list_leases: _Operation(answers={200: _object({"leases": _list({"type": "object"})})}),
    admin.drain: _Operation(answers={204: None}, body=_object({"reason": _TEXT})),
    admin.resume: _Operation(answers={204: None}),
    admin.usage: _Operation(answers={200: _object({"usage": _list({"type": "object"})})}, query={"since": _NUMBER}),
    admin.health: _Operation(answers={200: {"type": "object"}}),
    admin.metrics: _Operation(answers={200: _TEXT}, content="text/plain"),
}


def document(routes: Iterable[web.RouteDef] | None = None) -> dict[str, Any]:
    """The OpenAPI 3.1 document of *routes*, by default of all that a broker has."""
    listed = [*public.routes(), *admin.routes()] if routes is None else list(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in listed:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "QRMI over HTTP",
            "version": version("qrmi-broker"),
            "description": "What qrmid answers on its sockets. Errors have one form, whatever the status.",
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: web.RouteDef) -> dict[str, Any]:
    facts = _OPERATIONS[route.handler]
    about = inspect.getdoc(route.handler) or ""
    found: dict[str, Any] = {
        "operationId": getattr(route.handler, "__name__", ""),
        "summary": about.splitlines()[0],
        "tags": ["administrators" if route in admin.routes() else "jobs"],
        "parameters": [
            *(_parameter(name, "path", _TEXT) for name in re.findall(r"{(\w+)}", route.path)),
            *(_parameter(name, "query", schema) for name, schema in facts.query.items()),
            *(_parameter(name, "header", schema) for name, schema in facts.headers.items()),
        ],
        "responses": {str(status): _answer(schema, facts.content) for status, schema in facts.answers.items()},
    }
    found["responses"]["default"] = _answer(_ref("Error"), "application/json")
    if facts.is_payload:
        found["requestBody"] = {"required": True, "content": {"application/octet-stream": {"schema": _FILE}}}
        found["security"] = [{"token": []}]
    elif facts.body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": facts.body}}}
    return found


def _parameter(name: str, place: str, schema: Schema) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def _answer(schema: Schema | None, content: str) -> dict[str, Any]:
    found: dict[str, Any] = {"description": "no content" if schema is None else "the answer"}
    if schema is not None:
        found["content"] = {content: {"schema": schema}}
    return found
