"""Threads that live for one call. There is no pool that a fork could lose, and no thread is left after the call."""

from __future__ import annotations

import contextlib
import threading
from _thread import start_new_thread
from collections.abc import Callable


def together(share: Callable[[int], None], threads: int) -> list[BaseException]:
    """Call share(0) here, and each of share(1) … share(threads − 1) on its own thread, if the system has threads left.

    Returns when all threads that have begun have ended; the result is the list of the errors that they raised. An error
    of share(0), or a Ctrl-C, is raised here, but only after the other threads have ended, even if Ctrl-C comes several
    times. A thread that has not begun when share(0) ends never calls `share`.
    """
    entering, over = threading.Lock(), False
    errors: list[BaseException] = []
    begun: list[int] = []  # threads that have called `share`; while they work, they are not `idle`
    idle, ended = [True] * threads, [threading.Lock() for _ in range(threads)]

    def help(thread: int) -> None:
        try:
            with entering:
                if over:
                    return
                idle[thread] = False
                begun.append(thread)
            share(thread)
        except BaseException as error:
            errors.append(error)
        finally:
            idle[thread] = True
            ended[thread].release()

    interrupt: BaseException | None = None
    try:
        # threading.Thread.start() waits until the thread has begun: forever, if there is no memory left for it.
        with contextlib.suppress(RuntimeError, MemoryError):
            for thread in range(1, threads):
                ended[thread].acquire()
                start_new_thread(help, (thread,))
        share(0)
    finally:
        while True:
            try:
                with entering:
                    over = True
                for thread in begun:
                    while not idle[thread]:
                        ended[thread].acquire(timeout=0.1)
                break
            except BaseException as error:
                interrupt = error
        if interrupt:
            raise interrupt
    return errors
