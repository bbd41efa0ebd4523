"""Makes the n-th call of an interface fail, before it has had its effect or after it, as a lost answer does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

PARTIAL = ("write", "sync", "sha256", "finish", "abort", "close")
STREAMS = ("open", "list_files", "raw_batches", "ranges", "files")
"""Methods that give things out one by one; each one given out is a call."""


class NthCall:
    """Counts the calls of the methods that it watches, and lets one of them fail."""

    def __init__(self) -> None:
        self.count = 0
        self.failed = ""
        """Name of the method that failed."""
        self._fail_at = 0
        self._error: Callable[[], Exception] = Exception
        self._after = False
        self._for_ever = False

    def arm(self, number: int, error: Callable[[], Exception], *, after: bool, for_ever: bool = False) -> None:
        """Count from 0 again; the call of this number fails (0: none), and with `for_ever` all that come after it."""
        self.count, self.failed = 0, ""
        self._fail_at, self._error, self._after, self._for_ever = number, error, after, for_ever

    def disarm(self) -> None:
        """Nothing fails any more."""
        self.arm(0, Exception, after=False)

    def watch(self, target: Any, names: Iterable[str]) -> None:
        """Watch methods of one object, or of all objects of a class."""
        for name in names:
            real = getattr(target, name)
            setattr(target, name, self._stream(name, real) if name in STREAMS else self._call(name, real))

    def _is_due(self) -> bool:
        self.count += 1
        return self.count == self._fail_at or bool(self._for_ever and self._fail_at and self.count > self._fail_at)

    def _fail(self, name: str) -> None:
        self.failed = name
        raise self._error()

    def _call(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*arguments: Any, **named: Any) -> Any:
            due = self._is_due()
            if due and (not self._after or self.count > self._fail_at):
                self._fail(name)
            result = await real(*arguments, **named)
            if due:
                self._fail(name)
            return _Watched(self, result) if name == "partial" else result

        return call

    def _stream(self, name: str, real: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
        async def stream(*arguments: Any, **named: Any) -> AsyncIterator[Any]:
            async for one in real(*arguments, **named):
                if self._is_due():
                    self._fail(name)
                yield one

        return stream


class _Watched:
    """A partial upload whose calls are counted too."""

    def __init__(self, calls: NthCall, real: Any) -> None:
        self._real = real
        calls.watch(self, PARTIAL)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
