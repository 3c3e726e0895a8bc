"""Logic gates: the smallest problem that one neuron cannot solve, and three hidden ones can.

A gate takes two bits and answers with one: AND, OR, NAND, XOR. Draw the four inputs as the corners of a square. For
AND, OR and NAND one straight line separates the corners with answer 1 from the others, so a single neuron would do. For
XOR, "either, but not both", there is no such line: the 1s lie across from each other. A hidden layer bends the line.

The net is 2-3-1 with sigmoids, as in the last lesson, the loss is the mean squared error, and the learning rate is 0.5.
`nl.mlp` makes the net, with first weights drawn at random from a seed, and `Trainer.fit` makes the steps. An epoch is
one pass over all rows; here, each step sees all four of them, so an epoch is a step.

XOR's curve first shows a plateau: small weights keep the hidden neurons on the straight part of the sigmoid, where the
net is nearly one line, and the best that a line can do is to answer ½ to everything, at a loss of ¼. Until they leave
it, little moves. No seed was picked here: with these first weights XOR is learned from each of the seeds 0 … 59 that we
tried; some stay on the plateau twice as long (pass --seed 32 and see).

To try: give the net two hidden neurons, or four; let all first weights be 0 (init="zeros"), and say why nothing moves
the loss below ¼.

    python examples/07_logic_gates.py --out out
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt

import nnlite as nl

GATES = ("and", "or", "nand", "xor")


def learn(gate, epochs, device, seed):
    x, y = nl.datasets.logic_gate(gate)  # (4, 2), (4, 1)
    net = nl.mlp([2, 3, 1], hidden="sigmoid", output="sigmoid", device=device, seed=seed)
    trainer = nl.Trainer(net, loss="mse", optimizer=nl.SGD(lr=0.5))
    history = trainer.fit(x, y, epochs=epochs, batch_size=4, progress=False)
    return net, history["loss"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="4,000 epochs instead of 10,000")
    parser.add_argument("--device", default="cpu", help="numpy, numba, cupy, cpu, gpu or auto")
    parser.add_argument("--seed", type=int, default=0, help="of the first weights")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    epochs = 4_000 if arguments.quick else 10_000

    results = {gate: learn(gate, epochs, arguments.device, arguments.seed) for gate in GATES}

    print(f"2-3-1 after {epochs:,} epochs: the answers to 00, 01, 10, 11")
    for gate, (net, losses) in results.items():
        x, _ = nl.datasets.logic_gate(gate)
        answers = "  ".join(f"{answer:.3f}" for answer in net.predict(x).ravel())
        print(f"{gate.upper():>5}  {answers}   loss {losses[0]:.3f} → {losses[-1]:.5f}")

    draw(results).savefig(arguments.out / "07_logic_gates.png")

    for gate, (net, _) in results.items():
        x, y = nl.datasets.logic_gate(gate)
        assert (net.predict(x).round() == y).all(), f"{gate} was not learned; does another seed do better?"


def draw(results):
    figure, axes = plt.subplot_mosaic(
        [[*GATES], ["loss", "loss", "net", "net"]], figsize=(11, 6.6), dpi=150, layout="constrained"
    )
    for gate, (net, _) in results.items():
        x, y = nl.datasets.logic_gate(gate)
        ax = nl.plots.decision_boundary(net, x, y, ax=axes[gate])
        ax.set(title=gate.upper(), xlabel="first input", ylabel="second input", xticks=(0, 1), yticks=(0, 1))
        if legend := ax.get_legend():
            legend.remove()
        for corner, answer in zip(x, y.ravel()):
            across, up = 0.15 + 0.7 * corner  # beside the point
            ax.text(across, up, f"{answer:.0f}", ha="center", va="center", fontsize=12, weight="bold")

    ax = axes["loss"]
    for (gate, (_, losses)), colour, style in zip(results.items(), nl.plots.COLOURS, ("-", "--", ":", "-.")):
        ax.loglog(range(1, len(losses) + 1), losses, style, color=colour, linewidth=2, label=gate.upper())
    ax.axhline(0.25, color="#BBBBBB", linewidth=0.8, zorder=0)
    ax.text(len(losses), 0.3, "answering ½ to everything", ha="right", color="#777777")
    ax.set(title="The loss on the way there", xlabel="epoch", ylabel="mean squared error")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="lower left")

    nl.plots.network(results["xor"][0], ax=axes["net"]).set_title("The net that knows XOR")
    return figure


if __name__ == "__main__":
    main()
