"""A secret that a configuration names without holding it."""

from __future__ import annotations

import os

from attrs import frozen

EXPOSED = "is a secret in a file that every user of this machine can read"
_LONGEST_SECRET = 1 << 16


@frozen(kw_only=True)
class SecretReference:
    """A secret that stands elsewhere: in a file or in an environment variable."""

    file: str | None = None
    env: str | None = None

    def resolve(self) -> str:
        """Read the secret.

        Raises:
            ValueError: it cannot be read; the message says why, and never holds the secret.
        """
        if self.file is None:
            where, value = f"the environment variable {self.env}", os.environ.get(self.env or "", "")
        else:
            where, value = f"its file {self.file}", _first_bytes(self.file)
        if not value.strip():
            raise ValueError(f"{where} is empty or not set")
        return value.strip()


def _first_bytes(file: str) -> str:
    try:
        with open(file, "rb") as stream:
            content = stream.read(_LONGEST_SECRET + 1)
        if len(content) > _LONGEST_SECRET:
            raise ValueError(f"its file {file} is longer than {_LONGEST_SECRET} bytes")
        return content.decode()
    except OSError as exc:
        raise ValueError(f"its file {file} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError:
        raise ValueError(f"its file {file} is not UTF-8 text") from None  # the cause would hold the secret
