"""Threads that work on one call together. Between calls they wait, asleep, since to start one takes longer."""

from __future__ import annotations

import contextlib
import os
import threading
from _thread import start_new_thread
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue

import numpy as np

waiting: list[SimpleQueue] = []  # for each thread that waits, the queue through which its next job comes
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=waiting.clear)  # the threads are the parent's: a fork copies none of them


def together(
    share: Callable[[int], None], threads: int, wait_awake: Callable[[np.ndarray], None] | None = None
) -> list[BaseException]:
    """Call share(0) here, and each of share(1) … share(threads − 1) on its own thread, if the system has threads left.

    Returns when all threads that have begun have ended; the result is the list of the errors that they raised. An error
    of share(0), or a Ctrl-C, is raised here, but only after the other threads have ended, even if Ctrl-C comes several
    times. A thread that has not begun when share(0) ends never calls `share`.

    wait_awake(idle) returns soon after all of idle (threads,) have become 1, or after a while. It should keep Python's
    lock free, which the other threads need in order to end: woken for the lock, and again for the end, this thread
    would lose some 60 µs. Without it, this thread sleeps at once.
    """
    entering, over = threading.Lock(), False
    errors: list[BaseException] = []
    begun: list[int] = []  # threads that have called `share`; while they work, they are not `idle`
    idle, ended = np.ones(threads, np.int64), [threading.Lock() for _ in range(threads)]
    asked: list[SimpleQueue] = []  # the queues of the threads that have been given a share

    def help(thread: int, jobs: SimpleQueue) -> None:
        try:
            with entering:
                if over:
                    return
                idle[thread] = 0
                begun.append(thread)
            share(thread)
        except BaseException as error:
            errors.append(error)
        finally:
            waiting.append(jobs)  # first, so that the next call finds this thread
            idle[thread] = 1
            ended[thread].release()

    def end() -> None:
        nonlocal over
        with entering:
            over = True
        while asked:
            take_back(asked.pop())
        if wait_awake:
            wait_awake(idle)
        for thread in begun:
            while not idle[thread]:
                ended[thread].acquire(timeout=0.1)

    interrupt: BaseException | None = None
    try:
        with contextlib.suppress(RuntimeError, MemoryError):
            for thread in range(1, threads):
                ended[thread].acquire()
                asked.append(hand_over(partial(help, thread)))
        share(0)
    finally:
        while True:  # around another such loop, since an interrupt may come between two of its turns
            try:
                whatever_comes(end)
                break
            except BaseException as error:
                interrupt = error
        if interrupt:
            raise interrupt
    return errors


def whatever_comes(work: Callable[[], None]) -> None:
    """Do the work, and again after each interrupt, until it has been done; the last interrupt is raised then."""
    interrupt: BaseException | None = None
    while True:
        try:
            work()
            break
        except BaseException as error:
            interrupt = error
    if interrupt:
        raise interrupt


def hand_over(job: Callable[[SimpleQueue], None]) -> SimpleQueue:
    """Have a waiting thread do the job, or a new one, and return its queue. RuntimeError if no thread can be had.

    The job gets the thread's queue, and adds it to `waiting` when it is done.
    """
    try:
        jobs = waiting.pop()
        jobs.put(job)
    except IndexError:
        jobs = SimpleQueue()
        jobs.put(job)
        # threading.Thread.start() waits until the thread has begun: forever, if there is no memory left for it.
        start_new_thread(work, (jobs,))
    return jobs


def take_back(jobs: SimpleQueue) -> None:
    """If a thread has not taken its job yet, it goes on waiting, or else the next call would start one more."""
    with contextlib.suppress(Empty):
        jobs.get_nowait()
        waiting.append(jobs)


def work(jobs: SimpleQueue) -> None:
    """Do one job after the other, until the process ends."""
    while True:
        jobs.get()(jobs)
