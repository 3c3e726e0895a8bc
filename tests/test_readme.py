"""README's promises: two commands, and examples that run as they are written."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_two_commands_each_complete_in_itself():
    (commands,) = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    first, second = commands.strip().splitlines()
    assert "nnlite train digits" in first and "pytest" in second
    for command in (first, second):
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install")


@pytest.mark.parametrize("code", BLOCKS, ids=["twenty lines", "a kernel"])
def test_code_runs_as_written(code, tmp_path, monkeypatch, capsys):
    import matplotlib.pyplot

    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    out = capsys.readouterr().out
    if "swish" in code:
        assert re.search(r"swish +y4 \(32, 5\), s1 \(32, 5\) ← y3 \(32, 5\)", out), "as the comment in README says"
    else:
        assert "WRONG" not in out and "ok    x" in out
        assert float(re.search(r"([\d.]+)% of the test points", out)[1]) >= 95
        assert sorted(p.name for p in tmp_path.iterdir()) == [
            *("decision_boundary.png", "learning_curve.png", "moons.safetensors"),
        ]
    matplotlib.pyplot.close("all")


def test_every_layer_and_loss_is_in_the_tables():
    from nnlite.losses import LOSSES
    from nnlite.network import LAYERS

    for name in (*LAYERS, *(kind.__name__ for kind in LOSSES.values()), *(f'`"{name}"`' for name in LOSSES)):
        assert f"| `{name}" in README or f"| {name}" in README, name
