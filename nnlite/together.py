"""Many networks trained at once, each in a thread of its own: on numba a core each, on cupy one launch for all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from . import gate
from .callback import Callback
from .history import History
from .progress import quiet_tqdm
from .trainer import Trainer

AT_ONCE = 128  # networks on a GPU: as many as it has processors, or nearly


def fit_many(
    trainers: Sequence[Trainer],
    x: Any,
    y: Any = None,
    epochs: int = 1,
    batch_size: int = 32,
    *,
    progress: bool = True,
    **options: Any,
) -> list[History]:
    """Train every trainer's network on the same data, side by side; returns the history of each.

    The result is that of `trainer.fit(x, y, epochs, batch_size, **options)` one after the other, where each network has
    one thread. On numba, as many train at once as there are cores; on cupy, networks of one shape are blocks of one
    launch, if one block holds a network. `progress` counts the networks that are trained. An error of one, such as
    DivergedError, is raised when the others are trained. ValueError for trainers that share a network, or train
    on several devices or processes, and for a Callback, since that keeps what it has seen of one network.
    """
    trainers = list(trainers)
    _check(trainers, options.get("callbacks", ()))
    if not trainers:
        return []
    device, dtype = trainers[0].network.backend, trainers[0].network.dtype
    if not device.in_main_memory and isinstance(x, np.ndarray) and x.dtype == dtype:
        x = device.asarray(x)  # once for all
    at_once, threads = (len(trainers), gate.thread_count(None)) if device.in_main_memory else (AT_ONCE, AT_ONCE)
    histories: list[History] = []
    errors: list[BaseException] = []
    wanted: Any = {"total": len(trainers), "unit": "network", "disable": not progress}
    with quiet_tqdm()(**wanted) as bar, _one_thread_each(trainers):
        for start in range(0, len(trainers), at_once):
            some = trainers[start : start + at_once]
            take_part = device.meeting(len(some))

            def fit(trainer: Trainer, take_part: Any = take_part) -> History:
                with take_part():
                    return trainer.fit(x, y, epochs, batch_size, progress=False, **options)

            with ThreadPoolExecutor(min(threads, len(some))) as pool:
                futures: list[Future[History]] = []
                try:
                    for trainer in some:
                        futures.append(pool.submit(fit, trainer))
                    for future in futures:
                        errors += filter(None, [future.exception()])
                        bar.update()
                except BaseException:  # Ctrl-C: the threads do not hear it
                    pool.shutdown(wait=False, cancel_futures=True)
                    begun = [future for future in futures if not future.cancelled()]
                    while wait(begun, timeout=0.05).not_done:  # a fit that is just beginning forgets an earlier stop
                        for trainer in some:
                            trainer.stop()
                    raise
            histories += [future.result() for future in futures if not future.exception()]
    if errors:
        raise errors[0]
    return histories


def _check(trainers: Sequence[Trainer], callbacks: Sequence[Any]) -> None:
    for trainer in trainers:
        if not isinstance(trainer, Trainer):
            raise TypeError(f"trainers must be a list of nl.Trainer, got {trainer!r} in it")
        if trainer.ranks:
            raise ValueError("fit_many trains in one process: make the trainers without communicator=")
    if len({id(trainer.network) for trainer in trainers}) < len(trainers):
        raise ValueError("two of the trainers have the same network: give each one of its own")
    if len({id(trainer.network.backend) for trainer in trainers}) > 1:
        devices = ", ".join(sorted({repr(trainer.network.device) for trainer in trainers}))
        raise ValueError(f"the networks must be on one device, got {devices}")
    if any(isinstance(each, Callback) for each in callbacks):
        raise ValueError(
            "a Callback keeps what it has seen of one network, so trainers cannot share it: pass functions "
            "f(trainer, epoch), or fit one after the other"
        )


@contextlib.contextmanager
def _one_thread_each(trainers: Sequence[Trainer]) -> Iterator[None]:
    before = [trainer.network.threads for trainer in trainers]
    for trainer in trainers:
        trainer.network.threads = 1
    try:
        yield
    finally:
        for trainer, threads in zip(trainers, before):
            trainer.network.threads = threads
