#!/usr/bin/env python3
"""Time ONNX Runtime on the forward pass of this project's model benchmarks and print Go's benchmark format.

    python bench/onnx_bench.py --model base --batch 1,8 --threads 1,2

Results have the names of those benchmarks; the lines before them name the peer and its version. The program exports
testdata/torch/multimae.py with random weights, for one batch size and with the pixels and the masks as inputs, to a
temporary folder that it removes afterwards. ONNX Runtime's predictions are compared with PyTorch's before they are timed.
Attention is exported both spelled out and as PyTorch's fused operator, and the faster of the two is reported.
Where GOMAE_SIMD is avx2, ONNX Runtime keeps to AVX2 too: onnx_avx2.py says how.
"""
from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import tempfile
import warnings

sys.dont_write_bytecode = True  # leave no __pycache__ in the checkout
AVX2 = os.environ.get("GOMAE_SIMD") == "avx2"
if AVX2:
    import onnx_avx2
    onnx_avx2.find()
try:
    import torch
    import onnxruntime
    VERSION = tuple(int(n) for n in torch.__version__.split(".")[:2])
    if VERSION >= (2, 6):
        import onnxscript  # torch.onnx needs it to export
except ImportError as e:
    print("%s\npeer onnxruntime is absent; install it with: pip install -r %s" % (
        e, os.path.relpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "requirements.txt"))), file=sys.stderr)
    sys.exit(3)
import torch_bench
import multimae

TOLERANCE = 2e-5  # relative error of a prediction
# GELU became an operator of ONNX in opset 20, attention in opset 23. Together they save a tenth of the time.
OPSET = 23 if VERSION >= (2, 9) else 18 if VERSION >= (2, 6) else 17


class Exported(torch.nn.Module):
    """The model with nothing but tensors as arguments: the inputs, ids_keep, ids_restore, order, and for each input the
    samples and the indices of its visible patches."""

    def __init__(self, work: torch_bench.Work):
        super().__init__()
        self.model, self.names, self.grid = work.model, list(work.inputs), work.masks.grid

    def forward(self, *tensors):
        m = len(self.names)
        inputs = dict(zip(self.names, tensors))
        keep, restore, order = tensors[m:m + 3]
        visible = {name: (tensors[m + 3 + 2 * i], tensors[m + 4 + 2 * i]) for i, name in enumerate(self.names)}
        return tuple(self.model(inputs, multimae.Masks(self.names, self.grid, keep, restore, visible, order)).values())


def arguments(work: torch_bench.Work) -> dict:
    masks = work.masks
    named = {"in." + name: x for name, x in work.inputs.items()}
    named.update(ids_keep=masks.ids_keep, ids_restore=masks.ids_restore, order=masks.order)
    for name in work.inputs:
        named["sample." + name], named["patch." + name] = masks.visible[name]
    return named


def export(work: torch_bench.Work, path: str, opset: int):
    named = arguments(work)
    warnings.simplefilter("ignore")  # the exporter warns about itself
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    flags = {"dynamo": True, "verbose": False} if VERSION >= (2, 6) else {}
    torch.onnx.export(
        Exported(work).eval(), tuple(named.values()), path, input_names=list(named), opset_version=opset,
        output_names=["out." + name for name in work.config["outputs"]], **flags)


def session(path: str, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="base", help="tiny, small, base, large, or a config.json (base)")
    parser.add_argument("--batch", type=torch_bench.numbers, default=[1, 8], help="batch sizes (1,8)")
    parser.add_argument("--tokens", type=int, help="visible patches per sample (a sixth: 98 of 588)")
    parser.add_argument("--threads", type=torch_bench.numbers, default=[1, os.cpu_count() or 1], help="numbers of threads (1 and all)")
    parser.add_argument("--bench", type=re.compile, default=re.compile("."), metavar="REGEXP",
                        help="only benchmarks whose names match, such as Forward/model=base/batch=8 (all)")
    parser.add_argument("--seconds", type=float, default=3, help="for each measurement (3)")
    parser.add_argument("--count", type=int, default=1, help="measurements of each benchmark (1)")
    parser.add_argument("--opset", type=int, default=OPSET, help="version of ONNX's operator set (%d)" % OPSET)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    settings = {"variant": "avx2"} if AVX2 else {}
    torch_bench.header(peer="onnxruntime", version=onnxruntime.__version__, torch=torch.__version__, device="cpu", **settings)
    failed = False
    for batch in args.batch:
        names = {n: torch_bench.bench_name("forward", torch_bench.model_name(args.model), batch, "threads=%d" % n) for n in args.threads}
        names = {n: name for n, name in names.items() if args.bench.search(name)}
        if not names:
            continue
        work = torch_bench.Work(args.model, batch, args.tokens, args.seed)
        multimae.FUSED_ATTENTION = False
        with torch.no_grad():
            want = work.forward()
        feed = {name: x.numpy() for name, x in arguments(work).items()}
        with tempfile.TemporaryDirectory(prefix="gomae-onnx-") as folder:
            for fused in torch_bench.attentions():
                multimae.FUSED_ATTENTION = fused
                with torch.no_grad():
                    export(work, os.path.join(folder, "fused%d.onnx" % fused), args.opset)
            for threads, name in names.items():
                calls = {}
                for fused in torch_bench.attentions():
                    try:
                        run = session(os.path.join(folder, "fused%d.onnx" % fused), threads)
                        for (output, x), got in zip(want.items(), run.run(None, feed)):
                            torch_bench.hold("prediction of " + output, torch_bench.relative(torch.from_numpy(got), x), TOLERANCE)
                        calls["fused attention" if fused else "plain attention"] = lambda run=run: run.run(None, feed)
                    except Exception as e:  # this version may lack an operator
                        print("# no onnxruntime with %s attention: %s: %s" % (
                            "fused" if fused else "plain", type(e).__name__, str(e).partition("\n")[0][:200]), file=sys.stderr)
                if not calls:
                    failed = True
                    continue
                way = torch_bench.fastest(calls, "cpu") if len(calls) > 1 else next(iter(calls))
                print("# opset %d, %s" % (args.opset, way))
                for _ in range(args.count):
                    n, seconds = torch_bench.time_calls(calls[way], args.seconds)
                    torch_bench.report(name, batch, n, seconds, work.flop()[0])
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
