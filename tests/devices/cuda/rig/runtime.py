"""The functions of the CUDA runtime that CuPy calls: devices, memory, streams, events, graphs."""

import ctypes
import threading

from .card import CAPTURE_UNSUPPORTED, INVALID, OUT_OF_MEMORY, Card, Stream, Work
from .libraries import Function, RefusalError, write

NO_DRIVER, NOT_READY = 35, 600
NEVER = (Stream(blocking=False), 0)  # where an event was recorded that never was
TO_DEVICE, TO_HOST, DEFAULT_KIND = 1, 2, 4
NON_BLOCKING = 1
GLOBAL = 0  # a mode of captures
CAPABILITY = (9, 0)
PROPERTIES = {308: 32, 320: 1024}  # in cudaDeviceProp: the size of a warp, the most threads of a block
# Numbers of CUDA's attributes; of all others, CuPy gets a 1.
PROCESSORS, COOPERATES, SHARED_OPTIN, MAJOR, MINOR = 16, 95, 97, 75, 76


def functions(card: Card, version: int) -> dict[str, Function]:
    """Name -> function of cudart, for CuPy's build for this version of CUDA, such as 13000."""
    memory = card.memory
    here = threading.local()  # the current GPU is each thread's own

    def count(place: int) -> int | None:
        return write(place, card.gpus, ctypes.c_int) if card.plugged_in and not card.fault else card.fault or NO_DRIVER

    def attribute(place: int, number: int, device: int) -> None:
        limits = {PROCESSORS: card.processors, COOPERATES: card.cooperates, SHARED_OPTIN: card.shared_bytes}
        limits |= {MAJOR: CAPABILITY[0], MINOR: CAPABILITY[1]}
        write(place, int(limits.get(number, 1)), ctypes.c_int)

    def properties(place: int, device: int) -> None:
        ctypes.memset(place, 0, 512)
        for offset, value in PROPERTIES.items():
            write(place + offset, value, ctypes.c_int)

    def take(place: int, size: int) -> int | None:
        card.outside_of_a_capture("taking memory")
        if memory.used + size > card.bytes:
            return OUT_OF_MEMORY
        return write(place, memory.take(size))

    def give_back(place: int | None) -> None:
        card.outside_of_a_capture("giving memory back")
        if place:
            card.synchronize_all()
            memory.give_back(place)

    def take_pinned(place: int, size: int, flags: int = 0) -> None:
        buffer = ctypes.create_string_buffer(max(size, 1))
        pinned[ctypes.addressof(buffer)] = buffer
        write(place, ctypes.addressof(buffer))

    pinned: dict[int, ctypes.Array] = {}

    def room(free: int, total: int) -> None:
        write(free, max(0, card.bytes - memory.used), ctypes.c_size_t)
        write(total, card.bytes, ctypes.c_size_t)

    def is_pinned(place: int) -> bool:
        return any(start <= place < start + len(buffer) for start, buffer in list(pinned.items()))

    def copy_later(to: int, source: int, size: int, kind: int, stream: int | None) -> None:
        """A copy in its turn. What is not pinned is read at once, as CUDA does."""
        if not size:
            return
        for place, is_there in ((to, kind != TO_HOST), (source, kind != TO_DEVICE)):
            if kind != DEFAULT_KIND and memory.holds(place, size) != is_there:
                raise RefusalError(INVALID, f"a copy of kind {kind} from {source:#x} to {to:#x}, {size} bytes")
        if kind in (TO_DEVICE, TO_HOST) and card.stream(stream).captured is not None:
            raise RefusalError(CAPTURE_UNSUPPORTED, "a copy from or to main memory while the stream captures")
        if kind == TO_DEVICE and not is_pinned(source):
            kept = ctypes.string_at(source, size)
            card.add(stream, lambda: ctypes.memmove(to, kept, size))
        else:
            card.add(stream, lambda: ctypes.memmove(to, source, size))

    def copy(to: int, source: int, size: int, kind: int) -> None:
        copy_later(to, source, size, kind, 0)
        card.synchronize(0)

    def fill_later(place: int, value: int, size: int, stream: int | None) -> None:
        if size and not memory.holds(place, size):
            raise RefusalError(INVALID, f"{size} bytes at {place:#x} are not in the card's memory")
        card.add(stream, lambda: ctypes.memset(place, value, size))

    def new_stream(place: int, flags: int = 0, priority: int = 0) -> None:
        handle = next(card.handles)
        card.streams[handle] = Stream(blocking=flags != NON_BLOCKING)
        write(place, handle)

    def end_stream(handle: int) -> None:
        stream = card.streams.pop(handle)
        stream.run_to(stream.count)

    def stream_ready(handle: int | None) -> int | None:
        stream = card.stream(handle)
        return NOT_READY if stream.done < stream.count else None

    def new_event(place: int, flags: int = 0) -> None:
        write(place, next(card.handles))

    def record(event: int, handle: int | None, flags: int = 0) -> None:
        stream = card.stream(handle)
        card.events[event] = (stream, stream.count)

    def event_ready(event: int) -> int | None:
        stream, number = card.events.get(event, NEVER)
        return NOT_READY if stream.done < number else None

    def wait_for_event(event: int) -> None:
        stream, number = card.events.get(event, NEVER)
        stream.run_to(number)

    def wait_in_stream(handle: int | None, event: int, flags: int) -> None:
        stream, number = card.events.get(event, NEVER)
        card.add(handle, lambda: stream.run_to(number))

    def begin_capture(handle: int | None, mode: int) -> None:
        if not handle:
            raise RefusalError(CAPTURE_UNSUPPORTED, "the default stream cannot capture")
        stream = card.stream(handle)
        stream.captured, stream.captured_by = [], None if mode == GLOBAL else threading.get_ident()

    def end_capture(handle: int, place: int) -> None:
        stream = card.stream(handle)
        graph = next(card.handles)
        card.graphs[graph], stream.captured = stream.captured or [], None
        write(place, graph)

    def captures(handle: int | None, place: int) -> None:
        write(place, int(card.stream(handle).captured is not None), ctypes.c_int)

    def make_executable(place: int, graph: int, *_: int) -> None:
        handle = next(card.handles)
        card.graphs[handle] = card.graphs[graph]
        write(place, handle)

    def launch_graph(graph: int, handle: int | None) -> None:
        def run(works: list[Work] = card.graphs[graph]) -> None:
            for work in works:
                work()

        card.add(handle, run)

    def nothing(*_: int) -> None:
        pass

    def number(value: int, kind: type = ctypes.c_int):
        return lambda place, *_: write(place, value, kind)

    suffix = "_v2" if version < 13000 else ""
    return {
        f"cudaGetDeviceProperties{suffix}": Function("PI", properties),
        "cudaGetDeviceCount": Function("P", count),
        "cudaGetDevice": Function("P", lambda place: write(place, getattr(here, "gpu", 0), ctypes.c_int)),
        "cudaSetDevice": Function("I", lambda gpu: setattr(here, "gpu", gpu)),
        "cudaDeviceGetAttribute": Function("PII", attribute),
        "cudaDriverGetVersion": Function("P", number(version)),
        "cudaDeviceCanAccessPeer": Function("PII", number(0)),
        "cudaDeviceSynchronize": Function("", card.synchronize_all),
        "cudaGetLastError": Function("", nothing),
        "cudaMalloc": Function("PS", take),
        "cudaFree": Function("P", give_back),
        "cudaHostAlloc": Function("PSU", take_pinned),
        "cudaFreeHost": Function("P", lambda place: pinned.pop(place) and None),
        "cudaMemGetInfo": Function("PP", room),
        "cudaMemcpy": Function("PPSI", copy),
        "cudaMemcpyAsync": Function("PPSIP", copy_later),
        "cudaMemset": Function("PIS", lambda place, value, size: fill_later(place, value, size, 0)),
        "cudaMemsetAsync": Function("PISP", fill_later),
        "cudaPointerGetAttributes": Function("PP", lambda place, _: ctypes.memset(place, 0, 24) and None),
        "cudaStreamCreate": Function("P", new_stream),
        "cudaStreamCreateWithFlags": Function("PU", new_stream),
        "cudaStreamCreateWithPriority": Function("PUI", new_stream),
        "cudaStreamDestroy": Function("P", end_stream),
        "cudaStreamSynchronize": Function("P", card.synchronize),
        "cudaStreamQuery": Function("P", stream_ready),
        "cudaStreamWaitEvent": Function("PPU", wait_in_stream),
        "cudaStreamBeginCapture": Function("PI", begin_capture),
        "cudaStreamEndCapture": Function("PP", end_capture),
        "cudaStreamIsCapturing": Function("PP", captures),
        "cudaGraphInstantiate": Function("PPP", make_executable),
        "cudaGraphInstantiateWithFlags": Function("PPP", make_executable),
        "cudaGraphLaunch": Function("PP", launch_graph),
        "cudaGraphDestroy": Function("P", lambda graph: card.graphs.pop(graph) and None),
        "cudaGraphExecDestroy": Function("P", lambda graph: card.graphs.pop(graph) and None),
        "cudaEventCreate": Function("P", new_event),
        "cudaEventCreateWithFlags": Function("PU", new_event),
        "cudaEventRecord": Function("PP", record),
        "cudaEventQuery": Function("P", event_ready),
        "cudaEventSynchronize": Function("P", wait_for_event),
        "cudaEventDestroy": Function("P", lambda event: card.events.pop(event, None) and None),
        "cudaEventElapsedTime": Function("PPP", number(0.0, ctypes.c_float)),
    }
