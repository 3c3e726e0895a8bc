"""Choosing: the best of forty on rows held back is not as good as it looks there.

How wide should the net be, which rate, how much dropout? One tries many recipes, and takes the one that is right most
often on rows held back, the validation rows. But what is right on 108 images is known to about
two percentage points (the deviation of 95 % in n draws is √(0.95 · 0.05 / n)), so that among many recipes there are
some that are lucky there, and the best one is good and lucky. And so its own result is no estimate of how good it is:
on images that had no say, it is worse.

Two remedies. Cross-validation holds back each fifth of the rows in turn, and chooses by the mean of the five results:
luck differs from fifth to fifth, and all rows have had their say. It promises less too much, if still too much, and the
recipe is then trained on all rows. And what is reported comes from rows that had no say in anything, the test rows,
which are asked once, at the end. To try recipes until the test rows like one is to make validation rows of them.

(Not all of the gap is the choice's: the mean of all recipes, among which nothing is chosen, differs as well, since the
images held back are a little easier here than the test images. That is the luck of the division, as in lesson 19.)

`nl.fit_many` trains the forty side by side. For scikit-learn's searches there is `nl.MLPClassifier`, which does all
this within GridSearchCV, and validation_split=0.2 of `fit` is the way with one division.

To try: take 10 recipes, or 200: what becomes of the gap? Hold back a half of the rows (FOLDS = 2).

    python examples/24_choosing.py --out out
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import PercentFormatter

import nnlite as nl

RECIPES, FOLDS, EPOCHS = 40, 5, 40


def drawn(rng):
    """A recipe: a width, an activation, a learning rate and a share of dropout, by chance."""
    width, hidden, dropout = rng.choice([8, 16, 32, 64, 128]), rng.choice(["relu", "tanh"]), rng.choice([0, 0.2, 0.5])
    return {"width": int(width), "hidden": str(hidden), "dropout": float(dropout), "lr": 10 ** rng.uniform(-3.5, -1.5)}


def make_trainer(width, hidden, dropout, lr, device):
    net = nl.mlp([64, width, 10], hidden, "softmax", dropout=dropout, device=device, seed=0)
    return nl.Trainer(net, "cce", nl.Adam(lr=lr), metrics=["accuracy"])


def right(recipes, learned, *asked, device):
    """Train each recipe on the rows `learned` (x, y); the shares of right answers (recipes,) on each of those asked."""
    trainers = [make_trainer(**recipe, device=device) for recipe in recipes]
    nl.fit_many(trainers, learned[0], learned[1], EPOCHS, progress=False)
    return [np.array([trainer.evaluate(*rows)["accuracy"] for trainer in trainers]) for rows in asked]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="accepted for the sake of CI; this is always quick")
    parser.add_argument("--device", default="cpu", help="numpy, numba, cupy, cpu, gpu or auto")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    data = nl.datasets.digits(test=0.7)  # x (539, 64) and (1258, 64), y (539,) and (1258,)
    x, y, test = data.x_train, data.y_train, (data.x_test, data.y_test)
    rng = np.random.Generator(np.random.PCG64(0))
    recipes = [drawn(rng) for _ in range(RECIPES)]
    fold = rng.permutation(len(x)) % FOLDS  # (539,): the fold to which each row belongs

    print(f"{RECIPES} recipes; the best one of each, where it was chosen, and on the test images")
    validation, truth = np.zeros((2, FOLDS, RECIPES))
    claimed, found, names = [], [], []
    for k in range(FOLDS):
        held, others = (x[fold == k], y[fold == k]), (x[fold != k], y[fold != k])
        validation[k], truth[k] = right(recipes, others, held, test, device=arguments.device)
        best = int(validation[k].argmax())
        names.append(f"fold {k + 1}")
        claimed.append(validation[k, best])
        found.append(truth[k, best])
        print(f"  {names[-1]:12} {claimed[-1]:6.1%} of {len(held[0])} images, in truth {found[-1]:6.1%}")
    best = int(validation.mean(axis=0).argmax())
    (again,) = right([recipes[best]], (x, y), test, device=arguments.device)  # on all rows, and the test is asked once
    names.append("all folds")
    claimed.append(validation[:, best].mean())
    found.append(again[0])
    print(f"  {names[-1]:12} {claimed[-1]:6.1%} of {len(x)} images, in truth {found[-1]:6.1%}: {told(recipes[best])}")

    print(f"  {'mean of all':12} {validation.mean():6.1%} of {len(x)} images, in truth {truth.mean():6.1%}")

    draw(validation[0], truth[0], names, claimed, found).savefig(arguments.out / "24_choosing.png")
    gaps = np.array(claimed) - found
    assert gaps[:FOLDS].mean() > gaps[FOLDS] > 0 and gaps[:FOLDS].mean() > 0.01


def told(recipe):
    return f"{recipe['width']} {recipe['hidden']}, rate {recipe['lr']:.2g}, dropout {recipe['dropout']:g}"


def draw(validation, truth, names, claimed, found):
    figure, (recipes, winners) = plt.subplots(1, 2, figsize=(11, 4.4), dpi=140, layout="constrained")
    low, best = 0.88, int(validation.argmax())  # those that are worse are not shown
    recipes.plot([low, 1], [low, 1], color=nl.plots.COLOURS[6], linewidth=0.8, linestyle="--")
    recipes.plot(validation, truth, "o", color=nl.plots.COLOURS[0], alpha=0.5)
    recipes.plot(validation[best], truth[best], "o", color=nl.plots.COLOURS[3], markersize=10, label="chosen")
    recipes.set(title="The recipes in the first fold", xlabel="right of the fold's images", ylabel="of the test images")
    recipes.set(xlim=(low, 1.005), ylim=(low, 1.005))
    recipes.legend(frameon=False, loc="upper left")
    places = np.arange(len(names))  # (FOLDS + 1,)
    winners.vlines(places, found, claimed, color=nl.plots.COLOURS[6])
    winners.plot(places, claimed, "o", markersize=9, color=nl.plots.COLOURS[3], label="where it was chosen")
    winners.plot(places, found, "o", markersize=9, color=nl.plots.COLOURS[0], label="on the test images")
    winners.set(title="The best one, as it looked and as it is", ylim=(low, 1.005), ylabel="right")
    winners.set_xticks(places, names)
    winners.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    for axis in (recipes.xaxis, recipes.yaxis, winners.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    for ax in (recipes, winners):
        ax.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
