"""The choice of a replay on a GPU: a persistent kernel for small networks, or a CUDA graph."""

from __future__ import annotations

from collections.abc import Sequence

from ..common.arena import Arena
from ..common.planning import work
from ..common.recording import Tape
from ..device import Replay
from ..numpy.replay import PythonReplay
from .graph import GraphReplay
from .limits import CudaLimits
from .machine import Machine
from .persistent import PersistentReplay

STATIC_BYTES = 18 * 1024  # at most, of shared memory that the persistent kernel declares itself


def choose(machine: Machine, tapes: Sequence[Tape], arena: Arena, how: str, limits: CudaLimits) -> Replay:
    """The replay of these tapes that is probably the fastest, or the one that `how` names.

    A second tape is for a short batch. `how` is "auto", "graph" or "persistent", or "sweep": a graph unless a kernel is
    the user's own. ValueError if the named replay cannot run these tapes on this GPU.
    """
    own = [call.name for tape in tapes for call in tape.calls if call.kernel.own]
    if own:
        if how not in ("auto", "sweep"):
            raise ValueError(
                f'replay="{how}" needs CUDA kernels, but {own[0]} is a kernel of your own; use replay="auto"'
            )
        return PythonReplay(tapes[0], tapes[1] if len(tapes) > 1 else None, arena, f"{own[0]} is no CUDA kernel")
    amount = sum(map(work, tapes[0].calls))
    batch = max(result.shape[0] for call in tapes[0].calls for result in call.results)
    size, calls = f"a step's work is {amount:,.0f}", max(map(len, tapes))
    if how in ("graph", "sweep") or (how == "auto" and (amount > limits.persistent or calls > limits.calls)):
        much = f"{size}, more than {limits.persistent:,}"
        long = f"a step has {calls} calls, more than {limits.calls}, which would be compiled for long"
        why = "as asked" if how in ("graph", "sweep") else much if amount > limits.persistent else long
        return GraphReplay(machine, tapes, arena, why, limits.steps)
    why = "as asked" if how == "persistent" else f"{size}, at most {limits.persistent:,}"
    several = min(limits.blocks or min(limits.most_blocks, batch), machine.processors) if machine.cooperates else 1
    if not limits.blocks:
        several = -(-batch // -(-batch // several))  # no more than have a row more than others
    numbers_of_blocks = [1] * (amount <= limits.one_block) + [several] * (several > 1)
    for blocks in numbers_of_blocks if machine.persists else []:
        replay = PersistentReplay(machine, tapes, arena, blocks, why, limits)
        if replay.shared_bytes + STATIC_BYTES <= machine.shared_bytes:
            return replay
    if how == "persistent":
        raise ValueError(
            'replay="persistent" needs a smaller net, or a GPU that can launch cooperatively and has more shared '
            'memory; use replay="graph"'
        )
    why = "the net does not fit into one block, nor into as many as this GPU can hold together"
    return GraphReplay(machine, tapes, arena, why, limits.steps)
