"""A runtime in a process of its own: native code that hangs or crashes there is one failed row of a report."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Generator
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from temport.exporter.runtimes.contract import Arrays, Closing, Runtime
from temport.exporter.runtimes.subject import Subject

Talk = Generator[Any, Any, None]
OPENING = 300.0
"""Seconds in which a process has started and loaded its model; an engine may compile its kernels then."""
RUNNING = 120.0
"""Seconds in which one run has ended."""
CLOSING = 5.0
"""Seconds in which a process that is asked to end has ended."""


class Apart:
    """`runtime`, each of its sessions in a process that is ended where it does not answer in time.

    The process is started anew (`spawn`), since CUDA does not survive a fork; so `runtime` must be picklable, and it
    gets no torch module.
    """

    def __init__(self, runtime: Runtime, opening: float = OPENING, running: float = RUNNING) -> None:
        self.runtime, self.name, self.capabilities = runtime, runtime.name, runtime.capabilities
        self.in_process, self.opening, self.running = runtime, opening, running

    def unavailable(self) -> str | None:
        return self.runtime.unavailable()

    def open(self, subject: Subject, threads: int = 1) -> ApartSession:
        """Raises what the runtime's own `open` raises, TimeoutError, or RuntimeError where the process died."""
        return ApartSession(self, replace(subject, module=None), threads)


class ApartSession(Closing):
    """The other process's session; once it was ended or died, every further run says so."""

    def __init__(self, apart: Apart, subject: Subject, threads: int) -> None:
        self._other = OtherProcess(_session, apart.runtime, subject, threads)
        self._running = apart.running
        self.path, self.version = self._other.begin("load", apart.opening)

    def run(self, inputs: Arrays) -> Arrays:
        outputs: Arrays = self._other.ask(inputs, "run", self._running)
        return outputs

    def close(self) -> None:
        self._other.close()


class OtherProcess:
    """A process that answers one message after the other. It is ended where it does not answer in time.

    talk  a generator function: it is sent messages and yields answers, the first one before any message. An exception
          that it yields is raised here and it goes on; one that it raises is raised here and ends it. Started by
          `spawn`: it and its arguments are picklable.
    """

    def __init__(self, talk: Callable[..., Talk], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._lost: Exception | None = None
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, talk, arguments), daemon=True)
        self._process.start()
        theirs.close()

    def begin(self, what: str, seconds: float) -> Any:
        """Its first answer; whatever comes instead of one closes it."""
        try:
            return self._answer(what, seconds)
        except BaseException:
            self.close()
            raise

    def ask(self, message: Any, what: str, seconds: float) -> Any:
        """The answer. TimeoutError, or RuntimeError where the process died; then and ever after."""
        if self._lost is not None:
            raise self._lost
        try:
            self._connection.send(message)
        except OSError:
            raise self._died() from None
        return self._answer(what, seconds)

    def close(self) -> None:
        self._connection.close()
        self._process.join(CLOSING)
        self._end()

    def _answer(self, what: str, seconds: float) -> Any:
        if not self._connection.poll(seconds):
            self._end()
            self._lost = TimeoutError(
                f"it did not {what} within {seconds:g} seconds, and its process was ended"
            )
            raise self._lost
        try:
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise self._died() from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _died(self) -> Exception:
        self._process.join(CLOSING)
        code = self._process.exitcode or 0
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        self._lost = RuntimeError(f"its process died of {how}")
        return self._lost

    def _end(self) -> None:
        self._process.kill()
        self._process.join()


def _session(runtime: Runtime, subject: Subject, threads: int) -> Talk:
    """Path and version of the session, then outputs for inputs."""
    with runtime.open(subject, threads) as session:
        answer: Any = (session.path, session.version)
        while True:
            inputs = yield answer
            try:
                answer = session.run(inputs)
            except Exception as error:
                answer = error


def _serve(connection: Connection, talk: Callable[..., Talk], arguments: tuple[Any, ...]) -> None:
    """The other process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the caller ends this process
    threading.Thread(target=_end_with_caller, daemon=True).start()
    closed = contextlib.suppress(ConnectionError)  # by a caller that waits for no answer any more
    with closed, contextlib.closing(talk(*arguments)) as talking:
        message = None
        while True:
            try:
                answer = talking.send(message)
            except Exception as error:
                connection.send(_portable(error))
                return
            connection.send(_portable(answer) if isinstance(answer, Exception) else answer)
            try:
                message = connection.recv()
            except EOFError:
                return


def _end_with_caller() -> None:
    """A caller that was killed cannot end this process any more, which may hang."""
    caller = multiprocessing.parent_process()
    assert caller is not None
    caller.join()
    os._exit(1)


def _portable(error: Exception) -> Exception:
    """The same exception where it survives the way to the other process, else its text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
