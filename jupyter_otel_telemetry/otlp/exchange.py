"""One time limit for a whole exchange over HTTP: connection, request, status, headers and body.

The time limits of requests and urllib3 are those of each read, so that an answer which arrives byte after byte, or
endless `100 Continue`, never ends.
"""

from __future__ import annotations

import io
import time
from http.client import HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError

__all__ = ["cause_of", "is_connected", "keep_deadlines", "whole_exchange"]

_UNCONNECTED = (NewConnectionError, ConnectTimeoutError)


def whole_exchange(timeout_s: float) -> Timeout:
    """Return the time limit of a request for connecting, sending, and all of the answer, in seconds."""
    return Timeout(total=timeout_s)


def keep_deadlines(session: Any) -> None:
    """Let the connections of a requests session read answers until the time limit; adapters of others are kept."""
    for prefix, adapter in list(session.adapters.items()):
        if type(adapter) is HTTPAdapter:
            session.mount(prefix, _Adapter())


def cause_of(error: BaseException) -> BaseException:
    """Return the exception below those of requests and urllib3, whose texts contain URLs and names of classes."""
    found = _innermost(error)
    if isinstance(found, ReadTimeoutError):
        return TimeoutError("no complete answer within the time limit")
    return found.__cause__ if isinstance(found, HTTPError) and isinstance(found.__cause__, OSError) else found


def is_connected(error: BaseException) -> bool:
    """Tell whether the receiver had been reached when an exception was raised."""
    return not isinstance(_innermost(error), _UNCONNECTED)


def _innermost(error: BaseException) -> BaseException:
    while not isinstance(error, _UNCONNECTED):
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        if inner is None:
            break
        error = inner
    return error


class _TimedReads(io.RawIOBase):
    """A socket's file whose reads together end at a deadline."""

    def __init__(self, raw: Any, sock: Any) -> None:
        self._raw, self._sock = raw, sock
        timeout_s = sock.gettimeout()  # what is left of the whole, when the answer begins
        self._deadline_s = None if timeout_s is None else time.monotonic() + timeout_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        if self._deadline_s is not None:
            left_s = self._deadline_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("the answer was not complete within the time limit")
            self._sock.settimeout(left_s)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        buffered: Any = self.fp
        self.fp = io.BufferedReader(_TimedReads(buffered.detach(), sock))


class Connection(HTTPConnection):
    response_class = _Response
    debuglevel = 0  # a program that sets http.client's would print our headers


class TLSConnection(HTTPSConnection):
    response_class = _Response
    debuglevel = 0


class Pool(HTTPConnectionPool):
    ConnectionCls = Connection


class TLSPool(HTTPSConnectionPool):
    ConnectionCls = TLSConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


_POOLS = {"http": Pool, "https": TLSPool}
