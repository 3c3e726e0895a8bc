"""`nnlite bench`: compare the devices of this machine, with a table, a CSV file, a picture and a line of advice."""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import nnlite as nl

from .. import gate
from ..cores import usable
from . import comparison, output
from .info import package_version
from .output import say


def bench(options: argparse.Namespace) -> None:
    """Train nets of three sizes on each device of this machine, and say which device to use for which size."""
    tell: Callable[[str], None] = (lambda text: None) if options.quiet else say
    devices = comparison.chosen(options.devices)
    seconds = gate.number(options.seconds, "--seconds", above=0)
    pair = comparison.pair(devices) if options.sweep or ("cupy" in devices and len(devices) > 1) else []
    import matplotlib.figure  # noqa: F401  (if this import fails, it fails before the measurements)

    with output.folder(options.out) as folder:
        _measure(devices, pair, seconds, folder, tell)


def _measure(
    devices: Sequence[str], pair: Sequence[str], seconds: float, folder: Path, tell: Callable[[str], None]
) -> None:
    """Measure, and write the results into this folder; `pair` are the two devices for the sweeps."""
    columns = ("net, batch", "device", "µs a step", "samples a second", "× the slowest", "first use, s")
    layout = "{:31} {:7} {:>11} {:>16} {:>13} {:>12}"
    tell(f"{_machine(devices)}\n\n{layout.format(*columns)}")
    measured: list[comparison.Measured] = []
    rows = [["net", "sizes", "batch", "device", "us_per_step", "samples_per_s", "ratio_to_slowest", "first_use_s"]]
    for net in [*comparison.NETS, *((*comparison.SWEEP, *comparison.BATCHES) if pair else ())]:
        of_net = comparison.measure(net, devices if net in comparison.NETS else pair, seconds)
        slowest = max(each.seconds for each in of_net)
        for each in of_net:
            micro, ratio = each.seconds * 1e6, slowest / each.seconds
            shown = (f"{micro:,.1f}", f"{each.rate:,.0f}", f"{ratio:.2f}", f"{each.first_use:.2f}")
            tell(layout.format(f"{net.name} {net.shape}, {net.batch}", each.device, *shown))
            numbers = (f"{number:.6g}" for number in (micro, each.rate, ratio, each.first_use))
            rows.append([net.name, net.shape, str(net.batch), each.device, *numbers])
        measured += of_net
    count = len(comparison.NETS) * len(devices)
    nets = measured[:count]
    sweep, batches = ([each for each in measured if each.net.name == name] for name in ("sweep", "batches"))
    output.write(folder / "bench.csv", output.to_csv(rows))
    _draw(folder / "bench.png", nets, *([sweep, batches] if pair else []))
    *lines, advice = comparison.verdict(nets, sweep, batches)
    tell("\n".join(["", *lines, "", f"wrote {folder / 'bench.csv'}", f"wrote {folder / 'bench.png'}"]))
    say(advice)


def _machine(devices: Sequence[str]) -> str:
    """One line with the processor, the CPUs and their load, the versions and, if CuPy is compared, the GPU."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):  # Linux
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    cpus = usable().cpus
    parts = [cpu, f"{cpus} CPU{'s' * (cpus > 1)} for this process"]
    if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > cpus / 2:
        parts[-1] += f", busy in the last minute (load {load:.1f}): repeat when it is quiet"
    parts += [f"{name} {package_version(name)}" for name in ("numpy", "numba")]
    if "cupy" in devices:
        import cupy

        parts.append(cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode())
    return "; ".join(parts)


def _draw(path: Path, nets: Sequence[comparison.Measured], *sweeps: Sequence[comparison.Measured]) -> None:
    """Draw samples a second: bars for the three nets and, if sweeps were measured, curves over width and batch size."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, NullFormatter, NullLocator

    count, colours = 1 + len(sweeps), dict(zip(nl.devices(), nl.plots.COLOURS))
    figure = Figure(figsize=(5.2 * count + 0.8, 4.4), dpi=150, layout="constrained")
    bars, *curves = figure.subplots(1, count, squeeze=False)[0]
    shapes, devices = list(dict.fromkeys(each.net for each in nets)), list(dict.fromkeys(each.device for each in nets))
    width = 0.84 / len(devices)
    for k, device in enumerate(devices):
        places = np.arange(len(shapes)) + (k - (len(devices) - 1) / 2) * width
        rates = [each.rate for each in nets if each.device == device]
        boxes = bars.bar(places, rates, 0.94 * width, color=colours[device], label=device)
        labels = [EngFormatter()(float(f"{rate:.3g}")) for rate in rates]
        bars.bar_label(boxes, labels, padding=2, fontsize=8)
    bars.set_xticks(range(len(shapes)), [f"{net.name}\n{net.shape}\nbatch {net.batch}" for net in shapes])
    bars.tick_params(axis="x", length=0)
    bars.set(title="Three sizes of net", yscale="log", ylabel="samples a second (more is better)")
    for ax, sweep in zip(curves, sweeps):
        net = sweep[0].net
        for device in dict.fromkeys(each.device for each in sweep):
            points = [(each.net.place, each.rate) for each in sweep if each.device == device]
            ax.loglog(*zip(*points), "o-", linewidth=2, color=colours[device])
        varied = list(dict.fromkeys(each.net.place for each in sweep))
        ax.set_xticks(varied, map(str, varied))
        ax.xaxis.set_minor_locator(NullLocator())
        if net.name == "batches":
            ax.set(title=f"Batches for {net.shape}", xlabel="batch size")
        else:
            shape = f"{net.sizes[0]}-width-{net.sizes[-1]}"
            ax.set(title=f"One hidden layer: {shape}, batch {net.batch}", xlabel="width of the hidden layer")
        name, start = comparison.crossing(sweep) or ("", varied[0])
        if start > varied[0]:
            ax.axvline(start, color="#999999", linestyle="--", linewidth=1, zorder=0)
            ax.text(start, 0.02, f"{name} wins \nfrom {start} on ", transform=ax.get_xaxis_transform(), ha="right")
    for ax, drawn in zip((bars, *curves), (nets, *sweeps)):
        least, most = min(each.rate for each in drawn), max(each.rate for each in drawn)
        # The axis starts at a power of ten, because only powers of ten have a number.
        ax.set_ylim(10.0 ** math.floor(math.log10(least / 1.5)), 2 * most)
        ax.yaxis.set_major_formatter(EngFormatter())
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(devices), frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture)
    output.write(path, picture.getvalue())
