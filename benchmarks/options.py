"""What the benchmarks are told on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import processes
from peers import Peer, available


@dataclass
class Comparison:
    """What to compare, and for how long."""

    names: list[str]  # those that were asked for; none if nothing was said
    peers: dict[str, Peer]
    repeats: int
    seconds: float
    patience: float  # the most seconds to wait for a quiet machine
    out: Path | None
    stem: str
    quick: bool


def parser(text: str, seconds: float, repeats: int = 5) -> argparse.ArgumentParser:
    """The options that every benchmark has, with these defaults; `text` is shown by --help."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "--repeats", type=int, default=repeats, help="how often each time is taken, in processes of its own"
    )
    made.add_argument("--seconds", type=float, default=seconds, help="how long each time is taken for")
    made.add_argument("--out", type=Path, metavar="FOLDER", help="also write the results there, as files")
    return made


def comparison(
    text: str, stem: str, names: Collection[str], peers: Mapping[str, Peer], usual: Collection[str], seconds: float
) -> Comparison:
    """The options with which peers are compared on nets of these names; `usual` are the peers if none are named."""
    made = parser(text, seconds)
    made.add_argument("--only", nargs="+", choices=names, default=[], metavar="NAME", help=f"of {', '.join(names)}")
    listed = f"of {', '.join(peers)}; the first is what others are held against. Usually {', '.join(usual)}"
    listed += ", as far as they are installed"
    made.add_argument("--peers", nargs="+", choices=peers, metavar="PEER", help=listed)
    made.add_argument("--stem", default=stem, help="name of these files without the ending")
    quick = "prove all but the largest, time only digits, once and shortly; without torch.compile if not named"
    made.add_argument("--quick", action="store_true", help=quick)
    made.add_argument("--avx2", action="store_true", help="as if this processor had AVX2, but not AVX-512, for all")
    given = made.parse_args()
    if given.avx2:
        processes.forced |= processes.AVX2
    wanted = given.peers or [name for name in usual if not (given.quick and name == "compile")]
    time = (1, seconds / 10, 0.0) if given.quick else (given.repeats, given.seconds, 2.0)
    return Comparison(given.only, available(peers, wanted), *time, given.out, given.stem, given.quick)
