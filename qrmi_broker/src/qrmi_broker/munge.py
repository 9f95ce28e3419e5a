"""MUNGE, through its own library: what is encoded on one node says on another who encoded it, and is taken once."""

from __future__ import annotations

import asyncio
import ctypes
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from attrs import frozen

from qrmi_core.errors import ConfigError

_LIBRARY = "libmunge.so.2"
_OPT_TTL, _OPT_SOCKET = 4, 8
_ANSWER_S = 3.0

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")

# munge.h, enum munge_err
_SUCCESS = 0
_SNAFU, _NO_MEMORY, _SOCKET, _TIMEOUT = 1, 5, 6, 7
_EXPIRED, _REWOUND, _REPLAYED = 15, 16, 17


class MungeError(Exception):
    """MUNGE did not do what it was asked for. ``status`` is its number for that, ``text`` its words."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text

    def __str__(self) -> str:
        return f"MUNGE says: {self.text}"


class MungeUnavailable(MungeError):
    """The daemon `munged` does not answer. Nothing is wrong with what was asked."""


class CredentialRefused(MungeError):
    """This is no credential that may be used here."""


class CredentialExpired(CredentialRefused):
    """It was made too long ago."""


class CredentialRewound(CredentialRefused):
    """It was made in our future: the clocks of two nodes differ by more than its life."""


class CredentialReplayed(CredentialRefused):
    """It was decoded on this host before."""


_CLASSES: dict[int, type[MungeError]] = {
    **dict.fromkeys((_SNAFU, _NO_MEMORY, _SOCKET, _TIMEOUT), MungeUnavailable),
    _EXPIRED: CredentialExpired,
    _REWOUND: CredentialRewound,
    _REPLAYED: CredentialReplayed,
}


@frozen
class Decoded:
    """What a credential says: its payload, and who made it as `munged` saw him."""

    payload: bytes
    uid: int
    gid: int


@frozen
class Munge:
    """The `munged` behind one socket. Any thread may call; a call takes less than a millisecond if it answers.

    Raises:
        ConfigError: MUNGE's library is not installed.
    """

    socket_path: str | None = None
    """None: that of the installation."""

    def __attrs_post_init__(self) -> None:
        _library()

    def encode(self, payload: bytes, *, ttl_s: int = 0) -> str:
        """A credential of ours with *payload*, for whoever shares the key of `munged`.

        Args:
            payload: what it says. MUNGE encrypts it.
            ttl_s: how long it may be used; 0 is `munged`'s default, 300 s.

        Raises:
            MungeError: there is none.
        """
        lib, made = _library(), ctypes.c_void_p()
        with _Context(self.socket_path, ttl_s) as context:
            try:
                context.check(lib.munge_encode(ctypes.byref(made), context.handle, payload, len(payload)))
                return ctypes.string_at(made.value or 0).decode("ascii")
            finally:
                _free(made)

    def decode(self, credential: str) -> Decoded:
        """What *credential* says. Of an expired, rewound or replayed one nothing is told.

        Raises:
            CredentialRefused: it must not be used.
            MungeUnavailable: nobody can tell.
        """
        lib, buffer, length = _library(), ctypes.c_void_p(), ctypes.c_int()
        uid, gid = ctypes.c_uint32(), ctypes.c_uint32()
        facts = [ctypes.byref(one) for one in (buffer, length, uid, gid)]
        with _Context(self.socket_path, 0) as context:
            try:
                context.check(lib.munge_decode(credential.encode("ascii", "replace"), context.handle, *facts))
                payload = ctypes.string_at(buffer.value, length.value) if buffer.value else b""
                return Decoded(payload, uid.value, gid.value)
            finally:
                _free(buffer)


async def soon(verb: Callable[[_Given], _Made], given: _Given) -> _Made:
    """Call *verb*, a method of `Munge`, without holding up the loop.

    Raises:
        MungeUnavailable: `munged` takes longer than 3 s.
        MungeError: as *verb* does.
    """
    try:
        async with asyncio.timeout(_ANSWER_S):
            return await asyncio.get_running_loop().run_in_executor(_threads(), verb, given)
    except TimeoutError:
        raise MungeUnavailable(_TIMEOUT, f"munged takes longer than {_ANSWER_S:g} s") from None


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(8, thread_name_prefix="munge")


class _Context:
    """MUNGE's own context: of one call, because it is not safe to share."""

    def __init__(self, socket_path: str | None, ttl_s: int) -> None:
        self._socket_path, self._ttl_s = socket_path, ttl_s

    def __enter__(self) -> _Context:
        self.handle = ctypes.c_void_p(_library().munge_ctx_create())
        if not self.handle:
            raise MungeUnavailable(_NO_MEMORY, "out of memory")
        try:
            if self._socket_path is not None:
                path = ctypes.c_char_p(self._socket_path.encode())
                self.check(_library().munge_ctx_set(self.handle, _OPT_SOCKET, path))
            self.check(_library().munge_ctx_set(self.handle, _OPT_TTL, ctypes.c_int(self._ttl_s)))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        _library().munge_ctx_destroy(self.handle)

    def check(self, status: int) -> None:
        """Raise what *status* stands for, with the library's words about it."""
        if status != _SUCCESS:
            words = _library().munge_ctx_strerror(self.handle) or _library().munge_strerror(status) or b"unknown"
            raise _CLASSES.get(status, CredentialRefused)(status, words.decode(errors="replace"))


@functools.cache
def _library() -> Any:
    try:
        lib = ctypes.CDLL(_LIBRARY)
    except OSError as exc:
        remedy = "Install the package libmunge2 (munge-libs in Red Hat's distributions) and start munged"
        raise ConfigError.one(_LIBRARY, "", f"cannot be loaded ({exc})", remedy) from exc
    pointer, number = ctypes.c_void_p, ctypes.c_int
    lib.munge_ctx_create.restype, lib.munge_ctx_create.argtypes = pointer, []
    lib.munge_ctx_destroy.restype, lib.munge_ctx_destroy.argtypes = None, [pointer]
    lib.munge_ctx_strerror.restype, lib.munge_ctx_strerror.argtypes = ctypes.c_char_p, [pointer]
    lib.munge_strerror.restype, lib.munge_strerror.argtypes = ctypes.c_char_p, [number]
    lib.munge_ctx_set.restype, lib.munge_ctx_set.argtypes = number, [pointer, number]  # and one more, of any type
    lib.munge_encode.argtypes = [ctypes.POINTER(pointer), pointer, ctypes.c_char_p, number]
    lib.munge_decode.argtypes = [ctypes.c_char_p, pointer, pointer, pointer, pointer, pointer]
    return lib


def _free(pointer: ctypes.c_void_p) -> None:
    """Give back what the library allocated."""
    libc = ctypes.CDLL(None)
    libc.free.argtypes = [ctypes.c_void_p]
    libc.free(pointer)
