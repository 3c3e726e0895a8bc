"""A card that is not there: its limits, its memory, and its streams, whose work is done as late as CUDA allows."""

import ctypes
import itertools
import mmap
import os
import sys
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from .libraries import RefusalError

OUT_OF_MEMORY, INVALID, ILLEGAL_ADDRESS, MISALIGNED_ADDRESS, LAUNCH_FAILED, BAD_RESOURCE = 2, 1, 700, 716, 719, 400
CAPTURE_UNSUPPORTED, CAPTURE_IMPLICIT = 900, 906
ROOM = 1 << 36  # bytes of addresses; a page takes memory when it is first written
ALIGNED, GUARD, FILLED = 512, 512, 1 << 22  # bytes
LEGACY = 0  # the default stream
NO_RESERVE = 0x4000  # of mmap


class Memory:
    """The card's memory: 0xFF at first, so that a number that nobody wrote is NaN, with guards behind every piece."""

    def __init__(self) -> None:
        self.map = mmap.mmap(-1, ROOM, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE)
        self.first = self.end = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        self.last = self.first + ROOM
        self.sizes: dict[int, int] = {}  # address -> bytes
        self.given_back: dict[int, list[int]] = {}  # bytes -> addresses
        self.starts: list[int] = []  # all addresses ever given, in rising order

    @property
    def used(self) -> int:
        return sum(self.sizes.values())

    def pieces(self) -> list[tuple[int, int]]:
        """The first address of every piece in use, and that behind it, in rising order."""
        return sorted((place, place + size) for place, size in self.sizes.items())

    def take(self, size: int) -> int:
        room = -(-max(size, 1) // ALIGNED) * ALIGNED + GUARD
        again = self.given_back.get(room)
        if again:
            place = again.pop()
        else:
            place, self.end = self.end, self.end + room
            self.starts.append(place)
        ctypes.memset(place, 0xFF, min(size, FILLED))
        ctypes.memset(place + size, 0xA5, room - size)
        self.sizes[place] = size
        return place

    def give_back(self, place: int) -> None:
        if place not in self.sizes:
            raise RefusalError(INVALID, f"{place:#x} is no piece of memory that was taken")
        try:
            self.check(place)
        finally:
            size = self.sizes.pop(place)
        ctypes.memset(place, 0xFF, min(size, FILLED))
        self.given_back.setdefault(-(-max(size, 1) // ALIGNED) * ALIGNED + GUARD, []).append(place)

    def check(self, place: int) -> None:
        """Find what was written past a piece."""
        size = self.sizes[place]
        behind = -(-max(size, 1) // ALIGNED) * ALIGNED + GUARD - size
        if ctypes.string_at(place + size, behind) != b"\xa5" * behind:
            raise RefusalError(ILLEGAL_ADDRESS, f"something was written past {size} bytes at {place:#x}")

    def holds(self, place: int, size: int = 1) -> bool:
        """Whether these bytes lie in a single piece that is in use."""
        found = bisect_right(self.starts, place) - 1
        if found < 0:
            return False
        start = self.starts[found]
        return place + size <= start + self.sizes.get(start, 0)


Work = Callable[[], object]


class Stream:
    """Work in order. It waits until somebody waits for it."""

    turn = threading.RLock()  # so that a thread that waits for work which another has begun waits until it is done

    def __init__(self, blocking: bool) -> None:
        self.blocking = blocking
        self.waiting: deque[Work] = deque()
        self.begun = self.done = 0  # pieces of work; other threads may ask while one is being done
        self.captured: list[Work] | None = None
        self.captured_by: int | None = None  # the thread that may not do anything else meanwhile; None for all threads

    @property
    def count(self) -> int:
        """The number of pieces of work that it ever got."""
        with self.turn:
            return self.begun + len(self.waiting)

    def run_to(self, number: int) -> None:
        with self.turn:
            while self.begun < number:
                work = self.waiting.popleft()
                self.begun += 1
                try:
                    work()
                finally:
                    self.done += 1


@dataclass
class Card:
    """The limits of a card, and what happens on it. Tests set the limits; `plug_in` brings all back to the start."""

    memory: Memory = field(init=False)  # made when the rig is installed
    plugged_in: bool = False
    fault: int = 0  # the number of the error that CUDA gives in the place of the number of cards
    processors: int = 3
    shared_bytes: int = 232_448  # of a block, at most: an H100. 101,376 on an RTX, 65,536 on a T4
    cooperates: bool = True
    bytes: int = ROOM  # of memory
    order: int = 0  # of the threads, as in on_cpu.h
    left_out: int = -1  # the number of a barrier or fence in our sources that they go without, from 0; -1 for none
    find_races: bool = "NNLITE_FIND_RACES" in os.environ  # whether races.cpp watches what our kernels read and write
    as_written: bool = False  # whether a persistent replay is compiled as its source is: a library for each network
    at_once: bool = False  # whether work is done when it is launched, which CUDA also allows
    launches: list[str] = field(default_factory=list)  # names of our kernels, and gemm
    reduced: list[int] = field(default_factory=list)  # by CuPy's reductions: how many numbers to one
    refused: list[str] = field(default_factory=list)  # what was refused, and why
    gpus: int = 1  # of which all have the same memory
    headers: bool = True  # whether NVRTC finds those of CUDA
    blas_fails: bool = False  # whether cuBLAS cannot make a handle
    blas: object = None  # the handle that cuBLAS made last
    options: set[tuple[str, ...]] = field(default_factory=set)  # with which our sources were compiled

    def refuse(self, reason: str) -> None:
        self.refused.append(reason)

    def __post_init__(self) -> None:
        self.known: dict[str, int] = {}  # the limits that are not those of the card at first
        self.handles = itertools.count(0x1000)
        self.streams = {LEGACY: Stream(blocking=True)}
        self.events: dict[int, tuple[Stream, int]] = {}
        self.graphs: dict[int, list[Work]] = {}

    def plug_in(self) -> None:
        """A card as at first, but for memory that is still in use."""
        fresh = {name: value.default for name, value in self.__dataclass_fields__.items() if name != "memory"}
        self.__dict__.update(fresh | {"plugged_in": True, "options": self.options})
        self.launches, self.reduced, self.refused = [], [], []
        for stream in self.streams.values():
            stream.waiting.clear()
            stream.begun, stream.done, stream.captured = 0, 0, None
        self.events.clear()

    def become(self, **limits: int) -> None:
        """Become a card with other limits. CuPy and nnlite ask for them once."""
        import cupy

        before, self.known = self.known, limits
        self.__dict__.update(limits)
        if limits or before:
            cupy.clear_memo()
            sys.modules["nnlite.devices"]._make.cache_clear()

    def stream(self, handle: int | None) -> Stream:
        try:
            return self.streams[handle or LEGACY]
        except KeyError:
            raise RefusalError(BAD_RESOURCE, f"there is no stream {handle}") from None

    @property
    def capturing(self) -> bool:
        """Whether a stream captures, and this thread may do nothing else meanwhile.

        CUDA's relaxed mode would allow this thread more, but what it did would not be in the graph.
        """
        busy = [stream.captured_by for stream in list(self.streams.values()) if stream.captured is not None]
        return None in busy or threading.get_ident() in busy

    def add(self, handle: int | None, work: Work) -> None:
        """Work for a stream. The default stream and the blocking ones wait for each other's earlier work."""
        stream = self.stream(handle)
        if stream.captured is not None:
            stream.captured.append(work)
            return
        legacy = self.streams[LEGACY]
        if self.capturing and stream is legacy:
            raise RefusalError(CAPTURE_IMPLICIT, "work on the default stream while another stream captures")
        others = [legacy] if stream.blocking and stream is not legacy else []
        if stream is legacy:
            others = [other for other in list(self.streams.values()) if other.blocking and other is not legacy]
        earlier = [(other, other.count) for other in others if other.waiting]

        def in_turn() -> None:
            for other, number in earlier:
                other.run_to(number)
            work()

        stream.waiting.append(in_turn)
        if self.at_once:
            stream.run_to(stream.count)

    def outside_of_a_capture(self, what: str) -> None:
        if self.capturing:
            raise RefusalError(CAPTURE_UNSUPPORTED, f"{what} while a stream captures")

    def synchronize(self, handle: int | None) -> None:
        self.outside_of_a_capture("waiting for a stream")
        stream = self.stream(handle)
        stream.run_to(stream.count)

    def synchronize_all(self) -> None:
        self.outside_of_a_capture("waiting for the card")
        for stream in list(self.streams.values()):
            stream.run_to(stream.count)
