"""Save a trainer and go on: where a fit stands, and the file that holds it with all that the trainer keeps.

A fit goes on as if it had never been stopped, to the bit, since everything that it reads is there again: the arrays of
a step (`step.arrays()`), the number of rows that are done, the sums so far, the state of the generator from which the
order of the rows was drawn, and the clock of a schedule. The file is one of files.py. It begins as a network's does, so
that `nl.load` reads the network from it; names that begin with "trainer/" are the trainer's own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from . import files, losses, metrics, optimizers, registry, rules, schedules
from .architecture import description, families
from .history import History
from .loading import load
from .loss import Loss
from .metrics import Metric
from .network import Sequential
from .noise import Noise
from .optimizers import Optimizer
from .ranks import Communicator, Ranks, reading
from .schedules import Schedule
from .steps import Steps
from .sums import Rows
from .weights import Data

KNOWN: dict[str, type] = {
    name: kind
    for module in (losses, rules, optimizers, metrics, schedules)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, (Loss, Optimizer, Metric, Schedule))
}
ROWS = ("prediction", "target", "weight")
SAMPLE = 64  # rows of the data that are compared
State = dict[str, Any]  # of a generator
R = TypeVar("R", bound="Resumable")

# ---- where a fit stands ------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Where a fit stands: after `done` epochs, at a row of a window, or of an epoch of chunks.

    A fit makes a new one for each window and each chunk, before and after the order of its rows is drawn. So it is
    right wherever the fit is interrupted.
    """

    done: int = 0  # the number of epochs before the window
    generator: State | None = None  # from which the order of the window's rows was drawn
    steps: Steps | None = None  # of the window, as soon as its order is drawn
    chunk: int = -1  # the number of the chunk; −1 if there are none, or before the first
    order: State | None = None  # of the generator from which the order of the chunks was drawn
    sums: Sequence[np.ndarray] = ()  # (S,) of each chunk before it
    rows: int = 0  # of the chunks before it
    weight: float = 0.0  # of these rows together
    collected: Sequence[Rows] = ()  # their predictions, if a metric needs them
    position: int = 0  # rows of the window that are done; like the next two, of a fit that has been stopped
    current: np.ndarray | None = None  # (S,), the sums of the epoch under way; None before the order was drawn
    finished: np.ndarray | None = None  # (epochs, S), of finished epochs that are not in the history yet
    answer: np.ndarray | None = None  # (rows, outputs), the predictions of the window, if a metric needs them

    def stopped(self, written: int) -> Place | None:
        """The same without `steps`, after `written` epochs; None if a step was broken off."""
        if self.steps is None:
            return self
        program, finished = self.steps.program, self.steps.finished()
        position = int(program.position[0])
        if not program.replay.whole or position // self.steps.rows != len(finished):
            return None
        rest = finished[max(0, written - self.done) :].copy()
        answer = self.steps.data.get("answer")
        if answer is not None:
            answer = np.array(self.steps.device.to_numpy(answer[:position]))
        current = program.replay.current
        return self._replace(steps=None, position=position, current=current, finished=rest, answer=answer)

    def window(self, rows: int) -> int:
        """The least number of epochs, of so many rows each, that the window has in which the fit was stopped."""
        return max(1, -(-self.position // rows))

    @contextlib.contextmanager
    def entered(self, steps: Steps, before: int, written: int) -> Iterator[None]:
        """Draw the window in this block as it was drawn before the stop; after it, `steps` stand where they stood.

        A schedule has counted `before` epochs before the fit, and `written` are in the fit's history.
        """
        if self.current is None or self.finished is None:  # it was not drawn
            yield
            return
        with steps.step.optimizer.at_window(before + self.done):
            yield
        epochs, rows = divmod(self.position, steps.rows)
        steps.done = epochs * steps.per_epoch + rows // steps.batch
        steps.program.position[0], steps.program.replay.current = self.position, steps.device.asarray(self.current)
        if self.answer is not None:
            steps.data["answer"][: self.position] = steps.device.asarray(self.answer)
        known = np.zeros((max(0, written - self.done), len(self.current)))  # which nobody reads any more
        steps.history[:epochs] = np.concatenate([known, self.finished])


START = Place()


@dataclass
class Unfinished:
    """A fit that was stopped: where it stood, and with what."""

    place: Place
    epochs: int
    settings: dict[str, Any]  # what must be the same to go on: see `Settings`
    history: History
    rows: int  # that the bar has shown
    looked: int  # the number of epochs that the callbacks have seen
    epochs_before: int  # what a schedule has counted, less the epochs done
    before: int  # the number of epochs that counted as made when it began
    ended: bool  # whether a callback has ended it
    seconds: float  # of the trainer's fits before, as NumPy calls
    callbacks: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # the class and the memory of each
    loaded: bool = False  # whether the next fit goes on with it

    def check(self, epochs: int, settings: Mapping[str, Any], names: Sequence[str]) -> None:
        """ValueError if a fit of so many epochs with these settings and columns cannot go on with this one."""
        done = self.done
        wrong = [
            f"{name} {self.settings[name]}, now {new}" for name, new in settings.items() if self.settings[name] != new
        ]
        if done > epochs:
            wrong.append(f"{done} epochs done, now epochs={epochs} in all")
        if not wrong and list(self.history) != list(names):
            wrong.append(f"the columns {', '.join(self.history)}, now {', '.join(names)}")
        if wrong:
            raise ValueError(
                f"this fit cannot go on with the one that was stopped, which had {'; '.join(wrong)}: call fit with the "
                "same data and arguments, or train the network anew: nl.Trainer(nl.load(path), …)"
            )

    def stands(self) -> tuple[int, ...]:
        """The number of finished epochs; and the window, the chunk and the row in it."""
        return self.done, self.place.done, self.place.chunk, self.place.position

    @property
    def done(self) -> int:
        """The number of epochs that are done, or count as made."""
        return self.before + self.history.epochs

    @property
    def in_chunks(self) -> bool:
        return self.settings["rows of data"] == "in chunks"

    @property
    def over(self) -> bool:
        """Whether all epochs are done, or a callback has ended it."""
        return self.ended or self.done >= self.epochs

    def restore(self, callbacks: Sequence[Any]) -> None:
        """Give each callback the memory of the one of its class that had the same place among those of this class."""
        left = list(self.callbacks)
        for callback in callbacks:
            found = next((each for each in left if each[0] == type(callback).__name__), None)
            if found:
                left.remove(found)
                callback.restore(found[1])


def unfinished_of(fit: Any) -> Unfinished | None:
    """Where a fit stands, to go on with it later; None if there is no way back to whole steps."""
    if fit.going_on:
        found: Unfinished = fit.going_on
        return found
    between = fit.place.chunk >= 0 and fit.done > fit.place.done  # two epochs of chunks
    place = Place(fit.done) if between else fit.place.stopped(fit.done)
    if place is None:
        return None
    memories = [(type(each).__name__, dict(each.state())) for each in fit.callbacks.all]
    ended = bool(fit.callbacks.trainer.stopped)
    numbers = fit.bar.rows, fit.callbacks.looked, fit.epochs_before, fit.before, ended, fit.seconds
    return Unfinished(place, fit.epochs, fit.settings.found, History(fit.history), *numbers, memories)


@dataclass
class Settings:
    """What a fit must have in common with the one that it goes on with; no data for chunks."""

    initial_epoch: int
    batch_size: int
    shuffle: bool
    data: Data | None
    validation: Data | None

    @cached_property
    def found(self) -> dict[str, Any]:
        """All of this by name. It is found once, when it is first asked for: the checksums take long."""
        return {
            "initial_epoch": self.initial_epoch,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "rows of data": len(self.data) if self.data else "in chunks",
            "data of checksum": _sample(self.data) if self.data else "of chunks",
            "rows of validation data": len(self.validation) if self.validation else 0,
            "validation data of checksum": _sample(self.validation) if self.validation else "none",
        }


def _sample(data: Data) -> str:
    """A checksum of some rows, from the first to the last; their number is compared beside it."""
    digest = hashlib.sha256()
    for array in (data.x, data.target, *(() if data.weight is None else (data.weight,))):
        for row in np.unique(np.linspace(0, len(array) - 1, SAMPLE).astype(int)).tolist():
            part = array[row : row + 1]
            digest.update(np.ascontiguousarray(part.get() if hasattr(part, "get") else part).data)
    return digest.hexdigest()[:16]


def state_of(generator: np.random.Generator | None) -> State | None:
    """The state of a generator, from which it draws the same numbers again."""
    return None if generator is None else generator.bit_generator.state  # type: ignore[return-value]


def set_state(generator: np.random.Generator | None, state: State | None) -> None:
    """Let a generator draw as it did in this state."""
    if generator is not None and state is not None:
        generator.bit_generator.state = state


# ---- what a trainer can do with it ------------------------------------------------------------------------------


class Resumable:
    """The part of a trainer that saves it, and goes on where a fit was stopped."""

    history: History
    _seconds: float
    _fit: Callable[[], Unfinished | None] | None = None  # tells where the fit stands that is under way
    _unfinished: Unfinished | None = None  # the fit that was stopped last

    ranks: Ranks | None  # the processes that train with this one

    @property
    def unfinished(self) -> Unfinished | None:
        """Where the fit stands that is under way, or that was stopped last; None if there is none to go on with."""
        return self._fit() if self._fit else self._unfinished

    def save(self, path: str | os.PathLike[str], notes: Mapping[str, Any] | None = None) -> None:
        """Write the trainer to one safetensors file, from which `resume` goes on, and `nl.load` takes the network.

        It holds all that training needs, also of a fit that was interrupted, at whichever batch. An old file stays
        until the new one is complete. `notes` are those of `net.save`. TypeError for layers of your own that are not
        registered (`nl.register`), ValueError for weights that are NaN or infinite. Of several ranks, rank 0 writes.
        """
        if self.ranks is None or self.ranks.first:
            write(self, path, notes)

    def resume(self, path: str | os.PathLike[str]) -> None:
        """Bring this trainer, made as the one before was, to where `save` or an `nl.Checkpoint` has stored that.

        If a fit was under way, the next call of `fit`, with the same data and arguments, goes on with it. It ends where
        that fit would have ended, to the bit, on the same kind of device with as many threads. `epochs` is then their
        number in all, and may be larger than before. The learning rate, if it is a number, is that of the file.
        ValueError if this trainer, or then the data, are other ones; CorruptFileError for a damaged file. In both
        cases, nothing is changed. Of several ranks, all must call it; they may be more or fewer than when it was saved.
        """
        with reading(self.ranks):
            read(self, path)
            if self.ranks:
                place = self.unfinished.stands() if self.unfinished else None
                self.ranks.agree(task="reading", epochs=self.history.epochs, place=place)

    @classmethod
    def load(
        cls: type[R],
        path: str | os.PathLike[str],
        device: str | None = None,
        communicator: Communicator | Ranks | None = None,
    ) -> R:
        """The trainer that `save` wrote, with its network, by default on the same device; goes on as with `resume`.

        What is your own must have been registered (`nl.register`), or else LookupError: classes of layers, losses,
        optimizers, metrics and schedules, and kernels and functions that they take.
        """
        make: Any = cls
        with reading(ranks := Ranks.of(communicator)):
            network, parts = parts_of(path, device)
            trainer: R = make(network, **parts, **({"communicator": ranks} if ranks else {}))
            trainer.resume(path)
        return trainer

    def restored(self, history: History, seconds: float, unfinished: Unfinished | None) -> None:
        """Set what a file says of the fits before."""
        self.history, self._seconds, self._unfinished = history, seconds, unfinished

    def _going_on(self) -> Unfinished | None:
        """The stopped fit with which the next one goes on."""
        return self._unfinished if self._unfinished and self._unfinished.loaded else None

    @contextlib.contextmanager
    def _under_way(self, fit: Any) -> Iterator[None]:
        """In this block, a fit is under way. If it is stopped, what is left of it is kept."""
        if fit.going_on:
            fit.bar.begin(fit.going_on.rows, fit.history.epochs)
        self._fit = partial(unfinished_of, fit)  # until here, an interrupt leaves what was unfinished before
        try:
            yield
            self._unfinished = None
        except BaseException:
            self._unfinished = self._fit()
            raise
        finally:
            self._fit = None


# ---- the file ------------------------------------------------------------------------------------------------------


def write(trainer: Any, path: str | os.PathLike[str], notes: Mapping[str, Any] | None) -> None:
    """Write a trainer to a file: see `Trainer.save`."""
    network, optimizer, unfinished = trainer.network, trainer.optimizer, trainer.unfinished
    optimizer.bind(network)
    arrays: dict[str, np.ndarray] = {}
    for name, array in optimizer.arrays().items():
        arrays[f"optimizer/{name}"] = np.array(network.backend.to_numpy(array))
    if unfinished and "optimizer/clock" in arrays:  # an interrupt may have come between the count and the history
        arrays["optimizer/clock"][2] = unfinished.epochs_before + unfinished.done
    config = {
        **_parts(trainer),
        "lr": optimizer.constant_lr,
        "replay": trainer.replay,
        "device": network.device,
        "threads": network.threads,
        "seed": network.seed,
        "keys": {path: layer.key for path, layer in families(network.layers) if isinstance(layer, Noise)},
        "seconds": unfinished.seconds if unfinished else trainer._seconds,
        "shuffles": _as_json(state_of(trainer._shuffles)),
        "history": _columns(trainer.history, "history", arrays),
        "unfinished": None if unfinished is None else _described(unfinished, arrays),
    }
    own = {f"{files.OTHERS}{name}": array for name, array in arrays.items()}
    files.write(path, network.state_dict(), {**description(network), "trainer": config}, notes or network.notes, own)


def _parts(trainer: Any) -> dict[str, Any]:
    """Loss, optimizer and metrics as dicts."""
    named = {"loss": trainer.loss.apart(), "optimizer": trainer.optimizer, "metrics": trainer._asked}
    return {name: registry.encoded(part, KNOWN) for name, part in named.items()}


def _columns(history: Mapping[str, Sequence[float]], where: str, arrays: dict[str, np.ndarray]) -> list[str]:
    """Add the columns of a history to the arrays; their names, in order."""
    arrays.update({f"{where}/{name}": np.array(values, np.float64) for name, values in history.items()})
    return list(history)


def _described(unfinished: Unfinished, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """A stopped fit as a dict; its arrays are added to `arrays`."""
    place = unfinished.place
    for name in ("current", "finished", "answer"):
        if (array := getattr(place, name)) is not None:
            arrays[f"unfinished/{name}"] = array
    for rows in place.collected:  # of all chunks before in one
        arrays |= {f"unfinished/{name}": a for name, a in zip(ROWS, rows) if a is not None}
    if place.sums:
        arrays["unfinished/sums"] = np.stack(place.sums)
    plain = ("epochs", "settings", "rows", "looked", "epochs_before", "before", "ended")
    return {
        **{name: getattr(unfinished, name) for name in plain},
        "place": {name: getattr(place, name) for name in ("done", "chunk", "rows", "position", "weight")},
        "generator": _as_json(place.generator),
        "order": _as_json(place.order),
        "history": _columns(unfinished.history, "unfinished/history", arrays),
        "callbacks": [
            [kind, _memory(memory, f"callbacks/{i}", arrays)] for i, (kind, memory) in enumerate(unfinished.callbacks)
        ],
    }


def _memory(memory: Mapping[str, Any], where: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """What JSON can hold of a callback's memory; its arrays are added to `arrays`."""
    plain = {}
    for name, value in memory.items():
        if isinstance(value, np.ndarray):
            if value.dtype not in files.DTYPES.values():
                raise TypeError(f"{where}: {name!r} is {value.dtype}; a file can hold float32, float64 and int64")
            arrays[f"{where}/{name}"] = value
        elif isinstance(value, float) and not np.isfinite(value):
            plain[name] = {"float": str(value)}
        else:
            plain[name] = files.plain(value, f"{where}/{name}")
    return plain


def _as_json(state: State | None) -> Any:
    """A generator's state, whose numbers are too long for JSON, and back."""
    if state is None:
        return None
    inner = state["state"]
    return [f"{inner['state']:x}", f"{inner['inc']:x}", state["has_uint32"], state["uinteger"]]


def _from_json(value: Any) -> State | None:
    if value is None:
        return None
    state, inc, has, number = value
    found = {"bit_generator": "PCG64", "state": {"state": int(state, 16), "inc": int(inc, 16)}}
    return found | {"has_uint32": int(has), "uinteger": int(number)}


# ---- and back ------------------------------------------------------------------------------------------------------


def read(trainer: Any, path: str | os.PathLike[str]) -> None:
    """Bring a trainer to where the file says: see `Trainer.resume`. If the file does not fit, nothing changes."""
    network, optimizer = trainer.network, trainer.optimizer
    optimizer.bind(network)
    with files.read(path) as file:
        config, rest = _config_of(file), dict[str, np.ndarray]()
        own = {name: entry for name, entry in file.tensors.items() if not name.startswith(files.OTHERS)}
        given = {name: np.empty(shape, dtype) for name, (dtype, shape, _) in own.items()}
        file.numbers({}, network.dtype, given, rest)  # compares the checksum, before anything is said of what differs
        _refuse_other(file.path, _only(file.config), _only(description(network)), "network")
        for name, mine in _parts(trainer).items():
            _refuse_other(file.path, _without_lr(config.get(name)), _without_lr(mine), name)
        arrays = {name.removeprefix(files.OTHERS): array for name, array in rest.items()}
        with _explained(file.path):
            slots = {name: np.array(network.backend.to_numpy(array)) for name, array in optimizer.arrays().items()}
            for name, array in slots.items():
                slots[name] = _as_large(arrays[f"optimizer/{name}"], array, f"optimizer/{name}")
            expected = network.state_dict()
            if set(expected) != set(given):
                raise ValueError(f"its tensors are {', '.join(given)}, expected {', '.join(expected)}")
            found = {name: _as_large(given[name], array, name) for name, array in expected.items()}
            lr = None if optimizer.constant_lr is None else float(config["lr"])
            unfinished = _unfinished(config, arrays) if config["unfinished"] else None
            history = _history(config["history"], "history", arrays)
            shuffles, seconds, keys = _from_json(config["shuffles"]), float(config["seconds"]), dict(config["keys"])
            layers = dict(families(network.layers))
            drawn: dict[Any, int] = {layers[path]: int(key) for path, key in keys.items()}
            frozen, notes = set(file.config.get("frozen", ())), file.config.get("notes", {})
            test = np.random.Generator(np.random.PCG64(0))
            place = unfinished.place if unfinished else START
            for each in (shuffles, place.generator, place.order):
                set_state(test, each)
    network.load_state_dict(found)
    for path_of_layer, layer in layers.items():
        if layer.trainable != (path_of_layer not in frozen):
            layer.trainable = path_of_layer not in frozen
    for noise, key in drawn.items():
        if noise.key != key:
            noise.key = key
    if lr is not None:
        optimizer.lr = lr
    for name, array in slots.items():
        optimizer.arrays()[name][...] = network.backend.asarray(array)
    network.notes = notes
    set_state(trainer._shuffles, shuffles)
    trainer.restored(history, seconds, unfinished)


def _as_large(given: np.ndarray, mine: np.ndarray, name: str) -> np.ndarray:
    """The given array; ValueError if its shape or dtype is not that of mine."""
    if (given.shape, given.dtype) != (mine.shape, mine.dtype):
        raise ValueError(f"{name} is {given.dtype} {given.shape}, expected {mine.dtype} {mine.shape}")
    return given


def _config_of(file: files.File) -> dict[str, Any]:
    config = file.config.get("trainer")
    if config is None:
        raise ValueError(
            f"{file.path} holds a network without a trainer, as net.save writes it: nl.load(path) reads it"
        )
    if not isinstance(config, dict):
        raise files.CorruptFileError(f"{file.path}: what it says of the trainer is not a dict")
    return config


def _only(config: Mapping[str, Any]) -> Any:
    """What must be the same of two networks."""
    return config.get("layers"), config.get("dtype")


def _without_lr(part: Any) -> Any:
    """The description of an optimizer without a constant learning rate, which may have changed since; others as is."""
    if isinstance(part, dict) and isinstance(part.get("arguments"), dict):
        given = {k: v for k, v in part["arguments"].items() if k != "lr" or not isinstance(v, float)}
        return {**part, "arguments": given}
    return part


def _refuse_other(path: str, theirs: Any, mine: Any, what: str) -> None:
    if theirs != mine:
        raise ValueError(
            f"{path}: its {what} is {_short(theirs)}, but this trainer's is {_short(mine)}: make the trainer as it "
            "was, or take nl.Trainer.load(path)"
        )


def _short(value: Any) -> str:
    return text if len(text := str(value)) <= 300 else f"{text[:299]}…"


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """In this block, what is wrong with a description becomes a CorruptFileError."""
    try:
        yield
    except files.CorruptFileError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, IndexError) as error:
        what = f"what it says of the trainer is damaged: {_short(error)}"
        raise files.CorruptFileError(f"{path}: {what}") from error


def _history(names: Sequence[str], where: str, arrays: Mapping[str, np.ndarray]) -> History:
    return History({name: arrays[f"{where}/{name}"].tolist() for name in names})


def _unfinished(config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Unfinished:
    given = config["unfinished"]
    done, chunk, rows, position = (int(given["place"][name]) for name in ("done", "chunk", "rows", "position"))
    place = Place(
        done=done,
        chunk=chunk,
        rows=rows,
        position=position,
        generator=_from_json(given["generator"]),
        order=_from_json(given["order"]),
        sums=tuple(arrays.get("unfinished/sums", ())),
        current=arrays.get("unfinished/current"),
        finished=arrays.get("unfinished/finished"),
        answer=arrays.get("unfinished/answer"),
        weight=float(given["place"]["weight"]),
        collected=_collected(*(arrays.get(f"unfinished/{name}") for name in ROWS)),
    )
    memories = []
    for i, (kind, plain) in enumerate(given["callbacks"]):
        memory = {k: float(v["float"]) if isinstance(v, dict) and set(v) == {"float"} else v for k, v in plain.items()}
        own = f"callbacks/{i}/"
        memory |= {name.removeprefix(own): array for name, array in arrays.items() if name.startswith(own)}
        memories.append((str(kind), memory))
    return Unfinished(
        place,
        int(given["epochs"]),
        dict(given["settings"]),
        _history(given["history"], "unfinished/history", arrays),
        **{name: int(given[name]) for name in ("rows", "looked", "epochs_before", "before")},
        ended=bool(given["ended"]),
        seconds=float(config["seconds"]),
        callbacks=memories,
        loaded=True,
    )


def _collected(prediction: np.ndarray | None, target: np.ndarray | None, weight: np.ndarray | None) -> Sequence[Rows]:
    return [] if prediction is None or target is None else [(prediction, target, weight)]


def parts_of(path: str | os.PathLike[str], device: str | None) -> tuple[Sequential, dict[str, Any]]:
    """The network of a file, and the arguments with which its trainer is made."""
    with files.read(path) as file:
        config, where = _config_of(file), file.path
    with _explained(where):
        network = load(path, str(config["device"]) if device is None else device)
        network.seed, network.threads = config["seed"], int(config["threads"])
        made: dict[str, Any] = {"replay": config["replay"]}
        for name in ("loss", "optimizer", "metrics"):
            try:
                made[name] = registry.decoded(config[name], KNOWN)
            except registry.NotRegisteredError as error:
                raise registry.NotRegisteredError(
                    f"{where}: for its {name}, {error}: hand it to nl.register before, as when the file was written; "
                    "or make the trainer as it was made then, and call trainer.resume(path)"
                ) from None
    return network, made
