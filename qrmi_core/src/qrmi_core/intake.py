"""From what the user has, a payload file, a bare circuit, standard input, to a checked `Payload`."""

from __future__ import annotations

import codecs
import errno
import sys
from collections.abc import Sequence

from attrs import frozen

from qrmi_core import circuit, kinds, members, sequence
from qrmi_core.errors import ConfigError, PayloadError
from qrmi_core.payload import Payload, read_all

_CIRCUITS = (".qasm", ".qpy")
_QPY = b"QISKIT"


@frozen(kw_only=True)
class Options:
    """What the command line says about the payload."""

    mode: circuit.Mode | None = None
    """`qrun sample` and `qrun estimate`."""
    kind: str | None = None
    shots: int | None = None
    observables: Sequence[str] = ()
    params: Sequence[str] = ()
    variables: Sequence[str] = ()

    def refuse(self, what: str, *, but: frozenset[str] = frozenset()) -> None:
        """Raise ConfigError if an option is set that makes no sense for *what*, except those in *but*."""
        options = {
            "sample or estimate": self.mode,
            "--shots": self.shots,
            "--observable": self.observables,
            "--param": self.params,
            "--var": self.variables,
        }
        for name, value in options.items():
            if value and name not in but:
                raise ConfigError.one(name, "", f"means nothing for {what}", "Leave it out")


def read(path: str, options: Options) -> Payload:
    """Read the payload *path* (``-`` is standard input), check its shape, and bring it into its one form.

    Raises:
        PayloadError, ConfigError: nothing can be submitted.
    """
    if options.shots is not None and options.shots < 1:
        raise ConfigError.one("--shots", "", f"is {options.shots}", "Give at least 1")
    source, raw = content(path)
    if options.kind not in (None, kinds.PRIMITIVE, kinds.PULSER):
        options.refuse(f"a payload of kind {options.kind}")
        return Payload.from_bytes(options.kind, raw, source=source)
    raw = raw.removeprefix(codecs.BOM_UTF8)
    if path.endswith(_CIRCUITS) or _is_qasm(raw) or raw.startswith(_QPY):
        return _circuit(raw, source, options)
    payload = Payload.from_bytes(kinds.PRIMITIVE, raw, source=source)
    found = members.members(payload)
    document = {name: member.value for name, member in found.items()}
    kind = kinds.recognise(document, source)
    if options.kind not in (None, kind):
        raise PayloadError(
            source, "$", f"has the shape of kind {kind}, but --kind says {options.kind}", "Leave --kind out"
        )
    if kind == kinds.PULSER:
        options.refuse("a Pulser sequence", but=frozenset({"--shots", "--var"}))
        return Payload.from_json(
            kind, sequence.normalise(document, source, shots=options.shots, variables=options.variables), source=source
        )
    options.refuse("a payload file, which says it itself")
    return members.checked(payload, found)


def _circuit(raw: bytes, source: str, options: Options) -> Payload:
    if options.kind not in (None, kinds.PRIMITIVE):
        raise ConfigError.one("--kind", "", f"is {options.kind}, but {source} holds a circuit", "Leave --kind out")
    mode: circuit.Mode = options.mode or ("estimator" if options.observables else "sampler")
    if mode == "sampler":
        options.refuse("sampling a circuit", but=frozenset({"sample or estimate", "--shots", "--param"}))
    else:
        options.refuse("an estimate", but=frozenset({"sample or estimate", "--observable", "--param"}))
    document = circuit.payload_of(
        raw,
        source,
        is_qpy=source.endswith(".qpy") or raw.startswith(_QPY),
        mode=mode,
        shots=options.shots,
        observables=options.observables,
        params=options.params,
    )
    return Payload.from_json(kinds.PRIMITIVE, document, source=source)


def content(path: str) -> tuple[str, bytes]:
    """The name for messages, and the bytes, of the file *path*; ``-`` is standard input.

    Raises:
        PayloadError: it cannot be read, or is too large.
    """
    if path == "-":
        name, where = "standard input", "Pipe a payload into it, or name a file"
    else:
        name, where = path, "Check the path and its mode"
    try:
        if path == "-":
            if sys.stdin is None:
                raise PayloadError(name, "", "is closed", where)
            return name, read_all(sys.stdin.buffer, name)
        with open(path, "rb") as stream:
            return name, read_all(stream, name)
    except OSError as exc:
        cause = "is a folder" if exc.errno == errno.EISDIR else f"cannot be read: {exc.strerror}"
        raise PayloadError(name, "", cause, where) from exc
    except ValueError as exc:  # a NUL in the name
        raise PayloadError(name, "", "is not a file's name", where) from exc


def _is_qasm(raw: bytes) -> bool:
    """The content starts as an OpenQASM program does, comments apart."""
    for line in raw[:4096].splitlines():
        if line.strip() and not line.strip().startswith(b"//"):
            return line.strip().startswith(b"OPENQASM")
    return False
