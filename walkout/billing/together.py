"""Calls that arrive while others are at work wait and are then worked off together, as one transaction.

A commit waits for the disk; sharing it is what makes many small calls fast. Nobody waits for company: a call that
comes alone is done alone, at once.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

#: Calls that share a transaction at most. Beyond the number of clients (32 in the benchmark) it changes nothing.
MOST_TOGETHER = 64

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class _Call(Generic[Asked, Answer]):
    """One caller's question and, once ``done``, what came of it."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.done = False
        self.answer: Answer | Exception | None = None


class Together(Generic[Asked, Answer]):
    """Turns ``work`` over a list, all or none, into a call for one that may be made from many threads.

    ``work`` answers in the order it was asked; an ``Exception`` as an answer is raised to its own caller only. Where
    a whole group fails, each member is done again alone, so that one bad row fails one call.
    ``most`` is the largest group, 1 for none.
    """

    def __init__(self, work: Callable[[Sequence[Asked]], Sequence[Answer | Exception]], most: int) -> None:
        self._work = work
        self._most = most
        self._waiting: list[_Call[Asked, Answer]] = []
        self._changed = threading.Condition()
        self._busy = False

    def ask(self, asked: Asked) -> Answer:
        """The answer for one; raises what ``work`` raised or answered for it."""
        call = _Call[Asked, Answer](asked)
        if self._most == 1:
            self._answer([call])
        else:
            self._wait_or_lead(call)
        if isinstance(call.answer, Exception):
            raise call.answer
        return call.answer  # type: ignore[return-value]

    def _wait_or_lead(self, call: _Call[Asked, Answer]) -> None:
        with self._changed:
            self._waiting.append(call)
            while not call.done and self._busy:
                self._changed.wait()
            if call.done:
                return
            self._busy = True
        self._lead(call)

    def _lead(self, mine: _Call[Asked, Answer]) -> None:
        """Work off groups until our own call is among the done, then let the next one lead."""
        try:
            while not mine.done:
                with self._changed:
                    group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                self._answer(group)
                with self._changed:
                    for call in group:
                        call.done = True
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _answer(self, group: Sequence[_Call[Asked, Answer]]) -> None:
        try:
            answers = self._work([call.asked for call in group])
        except Exception as error:  # handed to its caller: a leader must not die of another's question
            if len(group) > 1:
                for call in group:
                    self._answer([call])
                return
            answers = [error]
        for call, answer in zip(group, answers, strict=True):
            call.answer = answer
