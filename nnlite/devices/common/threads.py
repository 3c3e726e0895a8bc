"""Threads that live for one call: there is no pool, so a fork can lose nothing, and none is left when the call ends."""

from __future__ import annotations

import contextlib
import threading
from _thread import start_new_thread
from collections.abc import Callable


def together(share: Callable[[int], None], threads: int) -> list[BaseException]:
    """Call share(0) here, and share(1) … share(threads − 1) each on a thread of its own, if threads are to be had.

    Returns when those that have begun have ended, with the errors that they raised. What share(0) raises is raised
    here, and so is a Ctrl-C, however often it comes: after all others have ended. Those that have not begun by then
    never do.
    """
    entering, over = threading.Lock(), False
    errors: list[BaseException] = []
    begun: list[int] = []  # those that have; those at work are not `idle`
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
        # A threading.Thread would be waited for until it has begun, which it never has where memory has run out.
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
