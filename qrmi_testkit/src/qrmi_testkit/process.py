"""A fresh process: a new Python that knows how to open the resource, and an id or a token, and nothing else."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import Any

from qrmi_core import Opening, QrmiError, open_resource

_LIMIT_S = 120.0


def fresh(opening: Opening, verb: str, *args: Any, **kwargs: Any) -> Any:
    """What *verb* returns or raises on the resource of *opening*, in a new process that ends with it.

    The settings travel through a pipe: a command line or an environment variable would show their secrets.
    """
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-m", __name__],
            input=pickle.dumps((opening, verb, args, kwargs)),
            capture_output=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            timeout=_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{verb}: the fresh process has not ended within {_LIMIT_S:g} s") from None
    sys.stderr.write(child.stderr.decode(errors="replace"))
    assert child.returncode == 0, f"{verb}: the fresh process ended with status {child.returncode}, see its stderr"
    value, error = pickle.loads(child.stdout)  # noqa: S301 - our own child wrote it
    if error is not None:
        raise error
    return value


def main() -> None:
    """Read a call from standard input and write its outcome to standard output, both pickled."""
    with os.fdopen(os.dup(1), "wb") as reply:
        os.dup2(2, 1)  # whatever else is printed, is no part of the reply
        opening, verb, args, kwargs = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own parent wrote it
        with open_resource(opening) as resource:
            outcome: tuple[Any, QrmiError | None]
            try:
                outcome = getattr(resource, verb)(*args, **kwargs), None
            except QrmiError as exc:
                outcome = None, exc
        pickle.dump(outcome, reply)


if __name__ == "__main__":
    main()
