"""Who predicts: one short function a peer, and the table of them, as peers.py has them for training.

A peer takes a Problem and returns `run(times)`, which predicts the problem's rows so many times and gives the last
answer: probabilities or values, (N, outputs). To add one: write that function and a line in PREDICTORS.
Each is called as its own users would at its best: what it computes on is made once, and stays.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from extended import torch_net
from peers import Peer, jax_forward, scikit_learn_net
from workloads import Problem, activations_of, layers_of

Run = Callable[[int], Any]  # times -> the last answer


def repeated(call: Callable[[], Any], within: Callable[[], Any] = contextlib.nullcontext) -> Run:
    """That call, so many times, within a context that is entered once."""

    def run(times: int) -> Any:
        with within():
            for _ in range(times):
                answer = call()
        return answer

    return run


def nnlite(problem: Problem, device: str) -> Run:
    """predict, as in the README."""
    import nnlite as nl

    net = nl.mlp(problem.sizes, problem.hidden, problem.output, device=device, dtype=problem.x.dtype, seed=0)
    net.load_state_dict(problem.weights)
    return repeated(partial(net.predict, problem.x))


def pytorch(problem: Problem, compiled: bool = False) -> Run:
    """Under inference_mode, eager or through torch.compile with its weights frozen.

    On a 64-32-10 net freezing took a tenth to a third off the time of compiled code; a wrapper in C++ and
    mode="max-autotune" gained nothing beside it.
    """
    import torch

    net, _ = torch_net(problem)
    if problem.output == "softmax":
        net.append(torch.nn.Softmax(dim=1))
    net.eval().requires_grad_(False)
    if compiled:
        torch._dynamo.reset()  # or it would give up compiling after a number of problems in one process
        net = torch.compile(net, dynamic=False, options={"freezing": True})
    return repeated(partial(net, torch.from_numpy(problem.x)), torch.inference_mode)


def onnx_runtime(problem: Problem) -> Run:
    """A graph of Gemm and activations, in a session with every optimization; its threads are not OpenMP's."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL  # there is nothing to run side by side
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", 0))  # 0: its own default
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_model(problem), options, providers=["CPUExecutionProvider"])
    outputs, inputs = ["y"], {"x": problem.x}
    return repeated(lambda: session.run(outputs, inputs)[0])


def onnx_model(problem: Problem) -> bytes:
    """The net as an ONNX file: x (N, inputs) -> y (N, outputs)."""
    from onnx import TensorProto, helper, numpy_helper

    operators = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softmax": "Softmax", "identity": "Identity"}
    kind = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}[problem.x.dtype.name]
    nodes, weights, previous = [], [], "x"
    for i, (name, (W, b)) in enumerate(zip(activations_of(problem), layers_of(problem))):
        weights += [numpy_helper.from_array(W, f"W{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [previous, f"W{i}", f"b{i}"], [f"z{i}"]))
        previous = "y" if i == len(problem.sizes) - 2 else f"a{i}"
        nodes.append(helper.make_node(operators[name], [f"z{i}"], [previous]))
    x = helper.make_tensor_value_info("x", kind, ["N", problem.sizes[0]])
    y = helper.make_tensor_value_info("y", kind, ["N", problem.sizes[-1]])
    graph = helper.make_graph(nodes, "mlp", [x], [y], weights)
    opset = helper.make_opsetid("", 17)
    # not the newest versions, which a runtime older than the library that writes them would refuse
    return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def scikit_learn(problem: Problem) -> Run:
    """predict_proba or predict, on a net that a fit of made-up rows of every class has built."""
    if problem.loss != "cce":
        return repeated(partial(scikit_learn_net(problem).predict, problem.x))
    classes = np.arange(problem.sizes[-1])
    x = np.zeros((len(classes), problem.sizes[0]), problem.x.dtype)
    return repeated(partial(scikit_learn_net(replace(problem, x=x, y=classes)).predict_proba, problem.x))


def jax(problem: Problem) -> Run:
    """One jit that holds the weights; each answer is waited for."""
    import jax

    weights = [(jax.numpy.asarray(W), jax.numpy.asarray(b)) for W, b in layers_of(problem)]

    @jax.jit
    def predict(x: Any) -> Any:
        z = jax_forward(problem, weights, x)
        return jax.nn.softmax(z) if problem.output == "softmax" else z

    x = jax.numpy.asarray(problem.x)
    return repeated(lambda: predict(x).block_until_ready())


PREDICTORS: dict[str, Peer] = {
    "numba": Peer("nnlite numba", partial(nnlite, device="numba"), ("numba",), note="takes and gives NumPy arrays"),
    "numpy": Peer("nnlite numpy", partial(nnlite, device="numpy"), ("numpy",), note="takes and gives NumPy arrays"),
    "torch": Peer("PyTorch eager", pytorch, ("torch",), note="takes and gives tensors, under inference_mode"),
    "compile": Peer(
        *("torch.compile", partial(pytorch, compiled=True), ("torch",)),
        program="c++",
        note="takes and gives tensors, under inference_mode, with its weights frozen, compiled for each number of rows",
    ),
    "onnx": Peer(
        *("ONNX Runtime", onnx_runtime, ("onnx", "onnxruntime")),
        note="takes and gives NumPy arrays; its graph is Gemm and the activations, every optimization is on",
    ),
    "jax": Peer("JAX", jax, ("jax",), note="takes and gives arrays on its device, in one jit, each answer waited for"),
    "sklearn": Peer("scikit-learn", scikit_learn, ("sklearn",), note="takes and gives NumPy arrays"),
}
USUAL = [name for name in PREDICTORS if name != "numpy"]
