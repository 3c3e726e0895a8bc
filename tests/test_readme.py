"""What README and the pages in docs promise: two commands, complete tables, and code that runs as it is written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nnlite as nl

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CATALOGUE = (ROOT / "docs/catalogue.md").read_text(encoding="utf-8")
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
TABLES = (ROOT / "docs/tables.md").read_text(encoding="utf-8")
(TWENTY_LINES,) = CODE.findall(README)
(ESTIMATOR,) = CODE.findall((ROOT / "docs/scikit_learn.md").read_text(encoding="utf-8"))
(TABLE,) = CODE.findall(TABLES)
KERNELS = "\n".join(CODE.findall((ROOT / "docs/kernels.md").read_text(encoding="utf-8")))
BLOCKS = {"twenty lines": TWENTY_LINES, "an estimator": ESTIMATOR, "a table": TABLE, "kernels": KERNELS}


def test_two_commands_each_complete_in_itself():
    (commands,) = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    first, second = commands.strip().splitlines()
    assert "nnlite train digits" in first and "pytest" in second
    for command in (first, second):
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install")


@pytest.mark.filterwarnings("error::nnlite.EagerWarning")  # the parts of one's own are recorded
@pytest.mark.parametrize("name", BLOCKS)
def test_code_runs_as_written(name, empty_folder, no_figures_left, capsys):
    exec(compile(BLOCKS[name], name, "exec"), {"__name__": "page"})
    out = capsys.readouterr().out
    if name == "kernels":
        assert re.search(r"swish +y4 \(32, 5\), s1 \(32, 5\) ← y3 \(32, 5\)", out), "as the comment in it says"
    elif name == "an estimator":
        assert float(re.search(r"([\d.]+)%", out)[1]) >= 90
        assert (empty_folder / "digits.safetensors").exists()
    elif name == "a table":
        assert f"```text\n{out}```" in TABLES, "what is printed is shown below it"
    else:
        assert "WRONG" not in out and "ok    x" in out
        assert float(re.search(r"([\d.]+)% of the test points", out)[1]) >= 95
        assert sorted(p.name for p in empty_folder.iterdir()) == [
            *("decision_boundary.png", "learning_curve.png", "moons.safetensors"),
        ]


# what a type checker is to find in README's first piece of code -> what it says
WRONG = {
    'nl.mlp([2, 1], devise="cpu")': 'Unexpected keyword argument "devise"',
    "nl.Swish()": 'Module has no attribute "Swish"',
    'net.seve("moons.safetensors")': '"Sequential" has no attribute "seve"',
}


def test_a_type_checker_finds_what_is_wrong_and_nothing_else(tmp_path):
    """With the settings of this project, and in a folder of its own, as a user's code is."""
    pytest.importorskip("mypy")
    for number, code in enumerate([*BLOCKS.values(), "\n".join([TWENTY_LINES, *WRONG])]):
        (tmp_path / f"code{number}.py").write_text(code, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        str(ROOT / "pyproject.toml"),
        "--no-pretty",
        *os.listdir(tmp_path),
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"MYPYPATH": str(ROOT)}, capture_output=True, text=True
    )
    told = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert len(told) == len(WRONG), done.stdout + done.stderr
    for line, said in zip(told, WRONG.values()):
        assert line.startswith(f"code{len(BLOCKS)}.py:") and said in line


def test_every_layer_and_loss_is_in_the_tables():
    from nnlite.architecture import LAYERS
    from nnlite.losses import LOSSES

    for name in (*LAYERS, *(kind.__name__ for kind in LOSSES.values()), *(f'`"{name}"`' for name in LOSSES)):
        assert f"| `{name}" in CATALOGUE or f"| {name}" in CATALOGUE, name


def rows(head: str) -> list[str]:
    """The rows of the table that begins with this head."""
    table = CATALOGUE[CATALOGUE.index(f"\n| {head} |") + 1 :].split("\n\n")[0]
    return table.splitlines()[2:]


def test_every_optimizer_and_schedule_is_there():
    from nnlite import schedules
    from nnlite.rules import OPTIMIZERS

    for name, kind in OPTIMIZERS.items():
        assert any(re.match(rf'\| `{kind.__name__}[`(].*`"{name}"`', row) for row in rows("optimizer")), name
    kinds = {
        kind for kind in vars(schedules).values() if isinstance(kind, type) and issubclass(kind, schedules.Schedule)
    }
    named = [re.match(r"\| `(\w+)\(", row)[1] for row in rows("schedule")]
    assert sorted(named) == sorted(kind.__name__ for kind in kinds - {schedules.Schedule})


def test_every_callback_is_there():
    there = {re.sub("^nl\\.", "", name) for row in rows("callback") for name in re.findall(r"`(nl\.\w+)", row)}
    kinds = {getattr(nl, name) for name in nl.__all__}
    assert there == {kind.__name__ for kind in kinds if isinstance(kind, type) and issubclass(kind, nl.Callback)}
    assert all(getattr(nl.callbacks, name) is getattr(nl, name) for name in there)


def test_every_metric_is_in_the_row_of_its_class():
    left = dict(nl.metrics.METRICS)
    for row in rows("metrics"):
        kinds, names = (re.findall(r'[`"](\w+)[`"(]', cell) for cell in row.split("|")[1:3])
        assert [nl.metrics.METRICS[name].__name__ for name in names] == kinds
        for name in names:
            del left[name]
    assert not left


def test_every_initializer_is_there():
    named = [name for row in rows("initializer") for name in re.findall('`"(\\w+)"`', row.split("|")[1])]
    assert sorted(named) == sorted(nl.initializers.INITIALIZERS)
    for name in re.findall(r"nl\.initializers\.(\w+)\(", CATALOGUE):
        assert callable(getattr(nl.initializers, name))


def test_every_lesson_is_there():
    """In order, and as many as README says."""
    lessons = [path.name for path in sorted((ROOT / "examples").glob("[0-9][0-9]_*.py"))]
    part = README[README.index("There are twenty-four lessons") : README.index("## What there is")]
    assert re.findall(r"\]\(examples/(.*?)\)", part) == lessons
    assert "There are twenty-four lessons; each" in part and len(lessons) == 24
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "twenty-four lessons" in changelog


def test_the_afternoons_reading_is_no_longer_than_an_afternoon():
    part = README[README.index("### An afternoon's reading") : README.index("## Benchmarks")]
    table = [line for line in part.splitlines() if line.startswith("|")]  # what stands below it is not counted
    files = re.findall(r"\(([\w/]+\.py)\)", "".join(table))
    lines = sum(len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in files)
    assert len(files) == len(set(files)) == 14 and 1500 < lines < 2500


def test_readme_counts_what_there_is():
    from nnlite.activations import ACTIVATIONS
    from nnlite.rules import OPTIMIZERS

    assert f"and {len(set(ACTIVATIONS.values()))} activations" in README
    assert "eleven in all" in README and len(set(OPTIMIZERS.values())) == 11


def headings(page: Path) -> set[str]:
    """The names by which links reach them."""
    found = re.findall("^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in found}


def test_every_link_goes_somewhere():
    """In all documents: to a file here, or to a heading of a document."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/results/*.md")]
    assert len(pages) > 30
    for page in pages:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if not link.startswith("https://"):
                name, _, heading = link.partition("#")
                file = page.parent / name if name else page
                assert file.exists(), f"{page.name}: {link}"
                assert not heading or heading in headings(file), f"{page.name}: {link}"


def test_every_page_is_found_from_readme():
    pages = {f"docs/{page.name}" for page in ROOT.glob("docs/*.md")}
    assert pages - set(re.findall(r"\]\((docs/\w+\.md)\)", README)) == set()
