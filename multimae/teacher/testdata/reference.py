"""Builds small networks in ONNX, and runs networks in ONNX Runtime as their descriptions say.

reference.py build DIR writes the networks of the test.
reference.py run JOBS reads a list of {"description", "model", "photo", "out"} and writes the map of each photo, at its
size, to out: float32 of depth, uint8 of ids. Pictures are resized by Pillow.
"""

import json
import os
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

FLOAT = TensorProto.FLOAT


def save(path, nodes, inputs, outputs, weights=()):
    info = lambda ports: [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in ports]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights]
    graph = helper.make_graph(nodes, "test", info(inputs), info(outputs), constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    onnx.save(model, path)


def layers(rng, source, channels, out):
    """A few convolutions from 3 channels at half the size."""
    random = lambda *shape: rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)
    nodes = [
        helper.make_node("Conv", [source, "w1"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2", "bias"], [out], pads=[2, 2, 2, 2], dilations=[2, 2]),
    ]
    bias = np.linspace(-0.2, 0.2, channels).astype(np.float32)
    return nodes, [("w1", random(8, 3, 3, 3)), ("w2", random(channels, 8, 3, 3)), ("bias", bias)]


def build(folder):
    rng = np.random.default_rng(7)
    at = lambda name: os.path.join(folder, name + ".onnx")
    free = [1, 3, "h", "w"]

    nodes, weights = layers(rng, "x", 1, "y")
    save(at("depth"), nodes, [("x", FLOAT, free)], [("y", FLOAT, [1, 1, "p", "q"])], weights)

    nodes, weights = layers(rng, "x", 6, "y")
    save(at("logits"), nodes, [("x", FLOAT, [1, 3, 64, 96])], [("y", FLOAT, [1, 6, 32, 48])], weights)

    nodes, weights = layers(rng, "t", 6, "y")
    nodes = (
        [helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2])]
        + nodes
        + [helper.make_node("Transpose", ["y"], ["z"], perm=[0, 2, 3, 1])]
    )
    save(at("nhwc"), nodes, [("x", FLOAT, [1, 80, 72, 3])], [("z", FLOAT, [1, 40, 36, 6])], weights)

    nodes, weights = layers(rng, "x", 6, "y")
    softmax = [helper.make_node("Softmax", ["y"], ["p"], axis=1)]
    save(at("probabilities"), nodes + softmax, [("x", FLOAT, free)], [("p", FLOAT, [1, 6, "p", "q"])], weights)
    largest = [helper.make_node("ArgMax", ["y"], ["i"], axis=1, keepdims=0)]
    save(at("ids"), nodes + largest, [("x", FLOAT, free)], [("i", TensorProto.INT64, [1, "p", "q"])], weights)
    # NaN, unless the picture is grey.
    nan = [
        helper.make_node("ReduceMax", ["x"], ["hi"], keepdims=1),
        helper.make_node("ReduceMin", ["x"], ["lo"], keepdims=1),
        helper.make_node("Sub", ["lo", "hi"], ["d"]),
        helper.make_node("Add", ["d", "little"], ["e"]),
        helper.make_node("Sqrt", ["e"], ["n"]),
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1], keepdims=1),
        helper.make_node("Add", ["m", "n"], ["y"]),
    ]
    save(at("nan"), nan, [("x", FLOAT, free)], [("y", FLOAT, [1, 1, "h", "w"])], [("little", np.float32(0.01))])
    add = [helper.make_node("Add", ["left", "right"], ["sum"]), helper.make_node("Neg", ["sum"], ["minus"])]
    two = [("left", FLOAT, free), ("right", FLOAT, free)]
    save(at("two"), add, two, [("sum", FLOAT, free), ("minus", FLOAT, free)])
    with open(at("broken"), "wb") as f:
        f.write(b"this is no network")


def resize(plane, w, h):
    """Resizes one channel by a triangle filter in float32."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane, np.float32), "F").resize((w, h), Image.BILINEAR))


def network_size(spec, shape, w, h):
    if "size" in spec:
        return spec["size"][1], spec["size"][0]
    for key, side in (("short_side", min(w, h)), ("long_side", max(w, h))):
        if key in spec:
            step = spec.get("multiple", 1)
            scaled = lambda n: max(int(np.floor(n * spec[key] / side / step + 0.5)), 1) * step
            return scaled(w), scaled(h)
    nhwc = spec.get("layout") == "NHWC"
    return (shape[2], shape[1]) if nhwc else (shape[3], shape[2])


def predict(session, d, photo, table):
    spec, result = d.get("input", {}), d["output"]
    h, w = photo.shape[:2]
    nw, nh = network_size(spec, session.get_inputs()[0].shape, w, h)
    order = [2, 1, 0] if spec.get("channels") == "BGR" else [0, 1, 2]
    x = np.stack([resize(photo[:, :, c] / np.float32(255), nw, nh) for c in order])
    lo, hi = spec.get("range", [0, 1])
    x = lo + x * (hi - lo)
    column = lambda key, default: np.float32(spec.get(key, [default] * 3)).reshape(3, 1, 1)
    x = ((x - column("mean", 0)) / column("std", 1))[None]
    if spec.get("layout") == "NHWC":
        x = x.transpose(0, 2, 3, 1)
    name = result.get("name") or session.get_outputs()[0].name
    (y,) = session.run([name], {session.get_inputs()[0].name: np.ascontiguousarray(x, np.float32)})
    kind = result["kind"]
    if kind == "ids":
        y = y.reshape(y.shape[-2:])
        rows = ((np.arange(h) + 0.5) * y.shape[0] / h).astype(int)
        columns = ((np.arange(w) + 0.5) * y.shape[1] / w).astype(int)
        return table[y[rows][:, columns]].astype(np.uint8)
    if kind not in ("logits", "probabilities"):
        return resize(y.squeeze(), w, h)
    y = y[0].transpose(2, 0, 1) if result.get("layout") == "NHWC" else y[0]
    y = np.stack([resize(plane, w, h) for plane in y])
    ids = table[y.argmax(0)]
    if d.get("confidence"):
        p = np.exp(y - y.max(0)) if kind == "logits" else y
        same = table[:, None, None] == ids
        sure = (p * same).sum(0) >= d["confidence"] * p.sum(0)
        ids = np.where(sure, ids, 255)
    return ids.astype(np.uint8)


def run(jobs):
    sessions = {}
    for job in jobs:
        if job["model"] not in sessions:
            sessions[job["model"]] = onnxruntime.InferenceSession(job["model"], providers=["CPUExecutionProvider"])
        photo = np.asarray(Image.open(job["photo"]).convert("RGB"))
        table = np.array(job["table"] or [0])
        predict(sessions[job["model"]], job["description"], photo, table).tofile(job["out"])


if sys.argv[1] == "build":
    build(sys.argv[2])
else:
    with open(sys.argv[2], encoding="utf-8") as f:
        run(json.load(f))
