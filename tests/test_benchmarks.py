"""What the benchmarks stand on: one direction of imports, jobs in processes of their own, proofs that can fail.

No time is judged here.
"""

import ast
import graphlib
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import nnlite as nl

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SHORT = ("--quick", "--seconds", "0.1")  # what a time is here does not matter
SCRIPTS = sorted(path.stem for path in BENCHMARKS.glob("*.py"))


needs_digits = pytest.mark.skipif(
    importlib.util.find_spec("sklearn") is None,
    reason="its data are files of scikit-learn, which is not installed",
)


@pytest.fixture(scope="module")
def bench():
    """The modules of the benchmarks, which lie in no package, by name."""
    before = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in SCRIPTS})
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in (set(sys.modules) - before) & set(SCRIPTS):
            del sys.modules[name]


def run(script, *options):
    """A benchmark as its user starts it."""
    command = [sys.executable, str(BENCHMARKS / script), *options]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=300)


def test_imports_run_one_way():
    imports = {}
    for name in SCRIPTS:
        tree = ast.parse((BENCHMARKS / f"{name}.py").read_text(encoding="utf-8"))
        found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        found |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        imports[name] = found & set(SCRIPTS)
    assert imports["kernels"] and imports["train"], "none was found"
    graphlib.TopologicalSorter(imports).prepare()  # raises where imports run in a circle
    assert not imports["processes"]


@pytest.fixture
def script(tmp_path):
    """A script that answers what its environment says, or fails."""
    path = tmp_path / "script.py"
    path.write_text(
        f"import os, sys\nsys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "from processes import answer\n"
        "def environment(names):\n    print('a line of some library')\n    return [os.environ.get(n) for n in names]\n"
        "def fails():\n    raise SystemExit('wrong')\n"
        "if not answer({'environment': environment, 'fails': fails}):\n    print('started by hand')\n"
    )
    return path


def test_a_job_runs_in_a_process_of_its_own(bench, script, monkeypatch):
    child, names = bench.processes.child, ["OPENBLAS_CORETYPE", "OMP_NUM_THREADS", "NUMBA_CACHE_DIR"]
    for name in names:
        monkeypatch.setenv(name, "from outside")
    assert child(script, "environment", names=names) == [None, "from outside", "from outside"]
    assert child(script, "environment", threads=1, cache="there", names=names) == [None, "1", "there"]
    assert os.environ["OPENBLAS_CORETYPE"] == "from outside"
    threads = [name for name in bench.processes.THREADS if name.endswith("THREADS")]
    assert child(script, "environment", threads=2, names=threads) == ["2"] * len(threads)


def test_a_job_that_fails_ends_it(bench, script, capfd):
    with pytest.raises(SystemExit, match="fails"):
        bench.processes.child(script, "fails")
    assert "wrong" in capfd.readouterr().err


def test_a_script_started_by_hand_does_no_job(script):
    done = subprocess.run([sys.executable, str(script), "--quick"], capture_output=True, text=True)
    assert done.stdout == "started by hand\n"


def test_the_clock_counts_turns(bench, monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(bench.processes.time, "perf_counter", lambda: now.seconds)
    monkeypatch.setattr(bench.processes.time, "process_time", lambda: now.seconds / 2)

    def turns(n):
        now.seconds += 3.0 + 0.25 * n  # 3 seconds before the first turn

    assert bench.processes.seconds_more(turns, 100.0) == pytest.approx(0.25)
    wall, processor = bench.processes.seconds_each(turns, 100.0)
    assert 0.25 < wall < 0.27
    assert processor == pytest.approx(wall / 2)


@pytest.mark.parametrize("net", [pytest.param("digits", marks=needs_digits), "tabular"])
def test_predictors_give_what_the_formula_gives(bench, net):
    for name, peer in bench.predictors.PREDICTORS.items():
        if peer.missing or name in ("compile", "jax"):  # one compiles for half a minute, one leaves threads behind
            continue
        for rows in (1, 5):
            given = bench.predict.problem(net, rows)
            run = peer.build(given)
            for times in (1, 3):
                assert bench.predict.apart(given, run(times)) <= bench.predict.TOLERANCE, name


@pytest.mark.parametrize("net", [pytest.param("digits", marks=needs_digits), "tabular"])
@pytest.mark.parametrize("wrong", ["0.b", "0.W", "2.b", "nan"])
def test_a_predictor_that_computes_something_else_gets_no_time(bench, monkeypatch, net, wrong):
    peer = bench.predictors.PREDICTORS["numpy"]

    def other(problem):
        if wrong == "nan":
            return lambda times: np.full((len(problem.x), problem.sizes[-1]), np.nan, np.float32)
        return peer.build(bench.predict.replace(problem, weights=problem.weights | {wrong: problem.weights[wrong] * 0}))

    monkeypatch.setitem(bench.predict.PREDICTORS, "numpy", bench.predict.replace(peer, build=other))
    with pytest.raises(SystemExit, match=f"{net}, 5 rows: nnlite numpy is .* from the formula"):
        bench.predict.proven(net, 5, "numpy")


@needs_digits
def test_an_answer_of_another_shape_is_no_answer(bench):
    given = bench.predict.problem("digits", 5)
    with pytest.raises(ValueError, match=r"predicted \(10, 5\) instead of \(5, 10\)"):
        bench.predict.apart(given, bench.predict.formula(given).T)


def test_a_peer_that_is_not_installed_is_left_out_with_a_word(bench, capsys):
    peers = bench.peers.PEERS
    absent = bench.predict.replace(peers["numpy"], title="Other", modules=("numpy", "no_such_module"))
    assert list(bench.peers.available({"a": absent, "b": peers["numpy"]}, ["b", "a"])) == ["b"]
    assert capsys.readouterr().err == "Other is left out: there is no no_such_module here\n"
    with pytest.raises(SystemExit, match="none of these peers"):
        bench.peers.available({"a": absent}, ["a"])


@pytest.mark.parametrize(
    "text, said",
    [
        (
            "cpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nflags\t\t: avx avx2\n\nmodel\t\t: 9\n",
            "family 25 model 1, AVX2",
        ),
        (
            "cpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\nflags\t\t: avx2 avx512f\n",
            "family 26 model 2, AVX-512",
        ),
        ("Features\t: fp asimd\n\nFeatures\t: sve\n", "NEON"),
        ("", ""),
    ],
)
def test_what_is_said_of_the_processor(bench, tmp_path, text, said):
    (tmp_path / "cpuinfo").write_text(text)
    found = bench.report.processor(tmp_path / "cpuinfo")
    assert found.endswith(said)
    assert found.startswith("AMD EPYC, ") == ("AMD EPYC" in text)


def test_the_best_number_of_threads_counts(bench):
    runs = [
        {"peer": peer, "threads": threads, "repeat": repeat, "us_per_call": us}
        for peer, threads, times in [
            ("a", None, (4, 5, 9)),
            ("a", 1, (8, 8, 8)),
            ("b", None, (20, 20, 20)),
            ("b", 1, (8, 15, 18)),
        ]
        for repeat, us in enumerate(times)
    ]
    result = bench.report.Result("net", "title", runs=runs, key="us_per_call")
    assert [run["threads"] for run in result.best("a")] == [None] * 3
    assert result.ratios("b", "a") == [2, 3, 2]
    peers = {"a": SimpleNamespace(title="A"), "b": SimpleNamespace(title="B")}
    assert bench.report.comparison([result], {"a": peers["a"]}) == []
    assert "2 (2 … 3)" in bench.report.comparison([result], peers)[1]
    assert "15 ¹" in bench.report.speed([result], peers)
    assert "20 / 15" in bench.report.threads([result], peers, "us_per_call")
    assert result.best("c") == [] and "–" in bench.report.threads([result], {"c": peers["a"]}, "us_per_call")


def test_rows_of_results_may_differ(bench, tmp_path):
    bench.report.save(tmp_path / "new", "some", "text", [{"a": 1, "b": 2.0}, {"a": 3, "c": 4}])
    assert (tmp_path / "new" / "some.csv").read_text() == "a,b,c\n1,2,\n3,,4\n"


@needs_digits
def test_any_few_digits_hold_every_class(bench):
    x, y, _ = bench.workloads.digits()
    for start in range(0, 500, 10):
        assert sorted(y[start : start + 10]) == list(range(10))
    assert x.shape == (len(y), 64)


@needs_digits
@pytest.mark.parametrize("name", ["xor", "tabular", "digits"])
def test_the_multiply_adds_are_those_of_the_recorded_products(bench, name):
    load = bench.workloads.WORKLOADS[name]
    problem = load.problem()
    net = nl.mlp(problem.sizes, problem.hidden, problem.output, device="numpy", seed=0)
    trainer = nl.Trainer(net, problem.loss)
    trainer.fit(problem.x[:4], problem.y[:4], epochs=1, batch_size=4, progress=False)
    products = [call for call in trainer.tape.calls if call.name.startswith("linear") and "bias" not in call.name]
    sizes = [call.kernel.signature.sizes(call.operands) for call in products]
    assert sum(size["N"] * size["K"] * size["M"] for size in sizes) == 4 * load.multiply_adds(training=True)
    layers = zip(problem.sizes, problem.sizes[1:])
    assert load.multiply_adds(training=False) == sum(inputs * outputs for inputs, outputs in layers)


def test_limits_are_parts_of_the_times(bench):
    peers = {"a": bench.peers.PEERS["numpy"], "b": bench.peers.PEERS["numba"]}
    runs = [{"peer": "a", "threads": 1, "us_per_step": 20.0}]
    _, table = bench.report.limits([bench.report.Result("net", "title", runs=runs, least=5.0)], peers)
    assert [cell.strip() for cell in table.splitlines()[-1].split("|")[1:-1]] == ["net", "5", "25%", "–"]


def test_predict_runs(tmp_path):
    done = run("predict.py", *SHORT, "--peers", "numba", "sklearn", "--out", str(tmp_path), "--stem", "some")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"some.md", "some.csv", "some.png"}
    for rows in ("1", "32", "10,000"):
        assert f"digits, {rows} " in done.stdout
    assert "partial_fit" in done.stdout and "validation adds" in done.stdout
    assert (tmp_path / "some.csv").read_text().startswith("workload,peer,threads,repeat,us_per_call,")


@needs_digits
def test_train_runs():
    done = run("train.py", *SHORT, "--only", "xor", "digits", "--peers", "numba", "numpy", "sklearn")
    assert done.returncode == 0, done.stderr
    assert "| digits " in done.stdout and "\n| xor " in done.stdout


def test_what_a_step_needs_at_least(bench):
    load = bench.workloads.Workload((4, 3, 2), "relu", "softmax", "cce", 0.1, 10, None)
    assert bench.strong.flops(load) == 2 * 10 * (2 * 4 * 3 + 3 * 3 * 2)  # forward and W's gradient; x's in one layer
    assert bench.strong.bytes_moved(load) == 4 * (10 * 4 + 3 * 4 * 3 + 4 * 3 * 2)
    assert [bench.strong.counts(cpus) for cpus in (1, 2, 6, 24)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8, 16, 24]]


def test_what_limits_a_step(bench):
    """The longer of both times is the limit."""
    flops, moved = (
        count(bench.workloads.WORKLOADS["wide"]) for count in (bench.strong.flops, bench.strong.bytes_moved)
    )
    found = {
        1: {"step": 4.0, "flops": flops / 3.0, "bytes": moved / 1.0},
        2: {"step": 2.5, "flops": flops / 1.5, "bytes": moved / 2.0},
    }
    one, two = bench.strong.lines("wide", found)
    assert (one["bound_by"], two["bound_by"]) == ("products, 75%", "memory, 80%")
    assert two["times_as_fast"] == pytest.approx(1.6)
    assert (two["products_us"], two["memory_us"]) == (pytest.approx(1.5e6), pytest.approx(2e6))


def test_each_is_timed_on_a_thread_of_its_own(bench):
    on: dict[int, set[int]] = {0: set(), 1: set()}  # what is timed -> threads that ran it

    def sleep(times, i):
        on[i].add(threading.get_ident())
        time.sleep(1e-4 * times)

    runs = [partial(sleep, i=i) for i in on]
    assert bench.strong.rate(runs, 0.05) > 0
    assert on[0] == {threading.get_ident()} and len(on[1] - on[0]) == 1


def test_large_data(bench, tmp_path):
    """A file has the rows that it is said to have, and every way of training on it learns from all of them."""
    path = str(tmp_path / "rows.bin")
    rows = bench.large.write(path, 0.02)
    assert rows == 19531 and os.path.getsize(path) == rows * 1024
    plain = bench.large.plain(path)
    assert min(plain.values()) > 0
    losses = []
    for way in bench.large.ways(0.02, 1e9):
        found = bench.large.train(path, rows, way, 1)
        line = bench.large.line(0.02, way, found, plain)
        assert line["of_disk"] == pytest.approx(line["gb_per_s"] * 1e9 / plain["disk"])
        losses.append(found["loss"])
    *whole, few = losses
    assert len(losses) == len(bench.large.WAYS) and np.ptp(whole) < 0.1 and 0 < few < min(whole)
    assert "array" not in bench.large.ways(0.6, 1e9)


def test_scaling_writes_what_it_found(tmp_path):
    options = ("--quick", "--only", "data", "--folder", str(tmp_path), "--out", str(tmp_path / "out"), "--stem", "some")
    done = run("scaling.py", *options)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # the data are gone
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"some.md", "some.csv"}
    assert "| 0.05 GB |" in done.stdout


def test_losses_of_nan_are_never_as_near_as_allowed(bench):
    for found in ([np.nan, 1.0], [1.0, np.nan]):
        assert np.isnan(bench.measure.most_apart([1.0, 1.0], found))
    assert bench.measure.most_apart([2.0, 1.0], [2.0, 1.5]) == 0.5


def test_nets_drawn_by_chance(bench, monkeypatch):
    """They are the same for everybody, of all kinds, and proven before they are timed; who is faster where is told."""
    drawn = bench.drawn
    loads = [drawn.workload(number) for number in range(60)]
    assert [load.title for load in loads] == [drawn.workload(number).title for number in range(60)]
    kinds = {f"{hidden} {loss}" for hidden in ("relu", "sigmoid", "tanh") for loss in ("mse", "cce")}
    assert {f"{load.hidden} {load.loss}" for load in loads} == kinds
    assert {len(load.sizes) for load in loads} == {2, 3, 4, 5, 6}
    assert all(load.multiply_adds(training=True) * load.batch_size < drawn.MOST for load in loads)
    few = [2, 27]
    assert drawn.prove(few, ["numpy", "eager"]) < 1e-12
    slow = replace(
        bench.peers.PEERS["numpy"], build=lambda problem: bench.peers.nnlite(replace(problem, lr=1.1e-3), "numpy")
    )
    told = r"net 2, float\d\d: eager does not train as numpy"
    with monkeypatch.context() as patch, pytest.raises(SystemExit, match=told):
        patch.setitem(bench.peers.PEERS, "eager", slow)
        drawn.prove(few, ["numpy", "eager"])
    peers = {name: bench.peers.PEERS[name] for name in ("numba", "torch", "jax")}
    found = {"numba": [1.0, 2.0], "torch": [30.0, 20.0], "jax": [1.5, 1.0]}
    lost, _, _ = drawn.text(peers, few, found, 3, {"machine": "here"}).partition("All nets:")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lost.splitlines() if line.startswith("|")]
    assert ["PyTorch eager", "2 of 2", "20 (10 … 30)"] in rows and ["JAX scan", "1 of 2", "1 (0.5 … 1.5)"] in rows
    assert rows[-1] == [f"27: {loads[27].title}", "2", "20", "1"] and f"2: {loads[2].title}" not in lost


@pytest.mark.parametrize("name", ["kernels", "scaling"])
def test_others_answer_their_own_jobs(name, bench):
    arguments = {
        "kernels": {"seconds": 0.0, "only": ["small", "medium"]},
        "scaling": {"peer": "numpy", "sweep": "depth", "values": [1, 2], "seconds": 0.01},
    }[name]
    done = run(f"{name}.py", json.dumps({"job": "times", **arguments}))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == arguments["only"] if name == "kernels" else len(found) == 2 and min(found) > 0


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX2 is x86-64's")
def test_all_sides_are_held_to_avx2(bench, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--avx2", "--peers", "numpy"])
    monkeypatch.setattr(bench.processes, "forced", bench.report.forced)
    monkeypatch.delenv("NUMBA_CPU_NAME", raising=False)
    try:
        bench.options.comparison("", "train", ["digits"], bench.peers.PEERS, ["numpy"], seconds=1.0)
        assert "AVX2 alone" in bench.report.processor()
        found = bench.processes.child("measure.py", "machine")
        assert "OpenBLAS, Haswell kernels" in found["NumPy's BLAS"]
        assert "AVX2 kernels" in found.get("PyTorch", "AVX2 kernels")
    finally:
        bench.report.forced.clear()
    assert "AVX2 alone" not in bench.report.processor()


def test_the_gpus_benchmark_needs_no_installed_nnlite():
    """It imports nnlite from its own checkout, in its children too."""
    code = (
        "import os, sys, pathlib, subprocess\n"
        "sys.path[:] = [each for each in sys.path if not (pathlib.Path(each) / 'nnlite').is_dir()]\n"
        f"sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "import gpu\n"
        "gpu.use_this_checkout()\n"
        "import nnlite\n"
        "print(nnlite.__file__, flush=True)\n"
        "subprocess.run([sys.executable, '-c', 'import nnlite; print(nnlite.__file__)'])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd="/")
    assert process.stdout.split() == [str(BENCHMARKS.parent / "nnlite" / "__init__.py")] * 2, process.stderr


@pytest.mark.parametrize("rows", [64, 70])
def test_pytorchs_graphs_train_all_rows_and_no_more(rows, bench, monkeypatch):
    """What graphs of whole batches leave over is a short batch, or none: the loss of a batch without rows is NaN."""
    torch = pytest.importorskip("torch")

    def captured(net, step, size, counts, device):
        """Graphs of so many steps, which can be had on a CPU: they take the steps when they are replayed."""
        batches = [torch.arange(size).repeat(count) for count in counts]
        return [
            (SimpleNamespace(replay=lambda them=them: [step(batch) for batch in them.split(size)]), them)
            for them in batches
        ]

    monkeypatch.setattr(bench.gpu, "_torch_graphs", captured)
    problem = bench.workloads.WORKLOADS["tabular"].problem().head(rows)
    eager, graph = (bench.gpu.pytorch(problem, "float32", way, "cpu")(3, False) for way in ("eager", "graph"))
    np.testing.assert_allclose(graph, eager, rtol=1e-6)


SMALL = {"wide": (6, (5, 9, 3)), "large": (4, (7, 3))}  # net -> rows of a batch, sizes


def test_products_of_every_layout_are_proven_on_cupy(bench, rig, monkeypatch):
    products = bench.gpu_products
    nets = {name: SimpleNamespace(batch_size=rows, sizes=sizes) for name, (rows, sizes) in SMALL.items()}
    monkeypatch.setattr(products, "NETS", nets)
    found = products.by_nnlite("float32", 1e-4)
    assert list(found["us"]) == [
        *("wide 0, x W", "wide 0, xᵀ dy", "wide 1, x W", "wide 1, dy Wᵀ", "wide 1, xᵀ dy"),
        *("large 0, x W", "large 0, xᵀ dy"),
    ]
    assert all(tuple(us) == products.LAYOUTS and min(us.values()) > 0 for us in found["us"].values())
    text = "\n".join(products.table("float32", found, None))
    assert text.count("\n| wide") == 5 and text.count("**") == 2 * 7
    from nnlite.devices.cuda.cublas import Cublas

    monkeypatch.setattr(Cublas, "product", lambda self, c, *_: c.fill(0))
    with pytest.raises(AssertionError):
        products.by_nnlite("float32", 1e-4)


def test_ways_to_train_on_a_gpu_are_proven(bench, rig, monkeypatch):
    ways = bench.gpu_ways
    monkeypatch.setattr(ways, "NETS", {"small": ((7, 8, 3), 4), "values": ((5, 6, 1), 4)})
    found = {name: ways.ways(name, 1e-4) for name in ways.NETS}
    assert all(tuple(each["us"]) == tuple(ways.WAYS) and each["work"] > 0 for each in found.values())
    assert ways.table(found)[-2].startswith("| small | ")  # it has more work, and so comes last
    trainer_of = ways.trainer_of

    def wrong(problem, precision, replay, **limits):
        trainer, device = trainer_of(problem, precision, replay, **limits)
        if replay == "graph":
            trainer.optimizer = nl.SGD(lr=0.5)
        return trainer, device

    monkeypatch.setattr(ways, "trainer_of", wrong)
    with pytest.raises(AssertionError, match="one block"):
        ways.ways("small", 1e-4)


def test_every_launch_of_a_step_has_a_time(bench, rig, monkeypatch):
    from nnlite.devices.cuda import choice

    step = bench.gpu_step
    monkeypatch.setattr(choice, "GraphReplay", choice.GraphReplay)  # put back in the end: `launches` replaces it
    net = {"sizes": (17, 40, 34, 3), "hidden": "relu", "output": "softmax", "loss": "cce", "lr": 0.1, "batch_size": 18}
    weights = nl.mlp(net["sizes"], "relu", "softmax", device="numpy").state_dict()
    rows = {"x": np.linspace(-1, 1, 36 * 17, dtype="f4").reshape(36, 17), "y": np.arange(36) % 3}
    problem = SimpleNamespace(**net, **rows, weights=weights)
    monkeypatch.setattr(step, "NETS", {"wide": SimpleNamespace(problem=lambda: problem)})
    found = step.launches("wide", "float32", 1e-4)
    text = "\n".join(step.table("wide", "float32", found))
    assert all(us > 0 for _, us in found), text
    assert "linear + relu by cuBLAS (18, 40)" in text and "| linear (18, 3)" in text
    assert "linear_backward_weights_sgd by cuBLAS (17, 40)" in text
    assert "relu_backward + linear_backward_bias_sgd (40,)" in text


def test_every_line_of_a_persistent_step_has_a_clock(bench, rig, monkeypatch):
    """The rig has no clocks: they are left out of what runs there. tests/devices/cuda/test_near.py compiles them."""
    import cupy

    from nnlite.devices.cuda import choice
    from nnlite.devices.cuda.machine import Machine

    clock, compiled, marked = bench.gpu_clock, Machine.compiled, []
    monkeypatch.setattr(choice, "PersistentReplay", choice.PersistentReplay)  # put back in the end
    room = cupy.arange(1000).astype(np.uint64)

    def without_clocks(self, code):
        if "STAMP(0)" in code:
            marked.append(re.findall(r"STAMP\((\d+)\)", code))
            code = code[code.index("#define NNLITE_FULL") :].replace("unsigned long long before = clock64();", "")
            code = re.sub(r" *STAMP\(\d+\)( \\\n)?", "", code)
        module = compiled(self, code)
        return SimpleNamespace(get_function=module.get_function, get_global=lambda name: room.data)

    monkeypatch.setattr(Machine, "compiled", without_clocks)
    found = clock.clocks("xor", 1e-4, {})
    text = "\n".join(clock.table("xor", found))
    lines = len(found["lines"])
    assert marked and all(numbers == [*map(str, range(lines))] for numbers in marked)
    assert found["lines"][-1] == "BARRIER" and "\n| BARRIER |" in text, text
    assert "\n| take_rows |" in text and "\n| linear + sigmoid (4, 3) |" in text and "\n| add_losses |" in text, text
    assert all(len(each) == lines for of in ("mean", "most") for each in found[of])
