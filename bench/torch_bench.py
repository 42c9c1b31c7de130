#!/usr/bin/env python3
"""Time PyTorch on the work of this project's model benchmarks and print Go's benchmark format.

    python bench/torch_bench.py --model base --batch 1,8 --threads 1,2 --mode forward,train
    python bench/torch_bench.py --device cuda --compile eager,compile --dtype float32,tf32,bfloat16

    python bench/torch_bench.py --mode finetune --model base --head dpt --inputs rgb --size 224 --batch 2

Results have the names of those benchmarks; the configuration lines before them name the peer, its version and its
variant. The model is testdata/torch/multimae.py with random weights, inputs and masks, the same at each call. Forward
computes all predictions without gradients; train is the forward pass, the losses, the backward pass and AdamW. finetune
is such a step of testdata/torch/multivit.py: dpt predicts depth, the other heads classes of pixels. It is without
drop-path, whose random numbers PyTorch is spared.

PyTorch is measured at its best: only visible patches are projected, and a short trial chooses the fastest AdamW, the layout
of images in a model with convolutions, and, in variants that are not compiled, the fastest attention; compiled ones use the
fused operator where there is one. Every variant is first compared with plain float32 and is not timed if it differs by too much.
As published, a training step computes all patches in the last layers of the decoders, of which gomae computes the masked ones
only, and the dpt head interpolates before its 1×1 convolutions, where gomae does so after them.
Compiled code is cached in the folder gomae-inductor-THREADS of the temporary folder.

Variants (--compile):
  eager
  onednn           eager, with every linear layer computed by oneDNN; in forward its weights are packed ahead. For float32
                   on a CPU only, where PyPI's torch uses MKL, which does not use AVX-512 on CPUs other than Intel's
  compile          torch.compile
  freeze           torch.compile with the weights packed ahead; forward only
  compile-onednn   compile and onednn together; forward only
  max-autotune, reduce-overhead   modes of torch.compile, the latter (CUDA graphs) for CUDA
Precisions (--dtype): float32 (TF32 off); tf32 (CUDA only); bfloat16 (autocast).
"""
from __future__ import annotations

import argparse
import contextlib
import copy
import itertools
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def absent(peer: str, error: ImportError):
    """Exit with code 3 and the last line that the comparison tool expects of a peer that is not installed."""
    print("%s\npeer %s is absent; install it with: pip install -r %s" % (
        error, peer, os.path.relpath(os.path.join(HERE, "requirements.txt"))), file=sys.stderr)
    sys.exit(3)


sys.dont_write_bytecode = True  # leave no __pycache__ in the checkout
sys.path.insert(0, os.path.join(HERE, "..", "testdata", "torch"))
try:
    import torch
except ImportError as e:
    absent("torch", e)
import multimae
import multivit

PRECISIONS = {"float32": "f32", "tf32": "tf32", "bfloat16": "bf16"}
VARIANTS = ("eager", "compile", "freeze", "onednn", "compile-onednn", "max-autotune", "reduce-overhead")
UNCOMPILED = ("eager", "onednn")
FORWARD_ONLY = ("freeze", "compile-onednn")
ROOM_CLASSES = 16  # of package scenes
# The largest difference from plain float32: relative error of a prediction, of the loss and of the gradient's norm.
TOLERANCE = {"float32": (2e-5, 1e-5, 1e-4), "tf32": (2e-2, 1e-3, 2e-2), "bfloat16": (1e-1, 2e-2, 1e-1)}


# ---------------------------------------------------------------------------------------------------------------
# The work


class Work:
    """A model in evaluation mode with a batch and masks for it."""

    def __init__(self, model_name: str, batch: int, tokens: int | None, seed: int):
        if os.path.exists(model_name):
            self.config = multimae.load_config(model_name)
        else:  # as in package bench/internal/models
            self.config = multimae.preset(model_name, ROOM_CLASSES if model_name == "tiny" else 133)
        self.batch, self.tokens = batch, tokens or multimae.preset_tokens(self.config)
        torch.manual_seed(seed)
        self.model = multimae.MultiMAE(self.config).eval()
        side, p = self.config["image_size"], self.config["patch_size"]
        self.inputs = {}
        for name, entry in self.config["inputs"].items():
            s = side // entry["stride"]
            if entry["kind"] == "classes":
                self.inputs[name] = torch.randint(entry["num_classes"], (batch, s, s))
            else:
                self.inputs[name] = torch.randn(batch, entry["channels"], s, s)
        self.masks = multimae.draw_masks(list(self.inputs), (side // p, side // p), batch, self.tokens)

    def to(self, device: str):
        self.model.to(device)
        self.inputs = {name: x.to(device) for name, x in self.inputs.items()}
        self.masks = self.masks.to(device)
        return self

    def forward(self, model=None) -> dict:
        return (model or self.model)(self.inputs, self.masks)

    def loss(self, model=None):
        preds = {name: x.float() for name, x in self.forward(model).items()}
        return sum(self.model.losses(preds, self.inputs, self.masks).values())

    def flop(self) -> tuple:
        """Floating-point operations of the matrix products of a forward pass and of a training step."""
        c, masks = self.config, self.masks
        b, n, rows = self.batch, masks.patches, self.tokens + c["num_global_tokens"]
        ratio = c["encoder"]["mlp_ratio"]

        def blocks(dim, depth, tokens):
            return depth * 2 * tokens * dim * ((4 + 2 * ratio) * dim + 2 * tokens)

        first = embedded = 0  # patch projections of pixels, whose input needs no gradient, and of class embeddings
        for name, entry in c["inputs"].items():
            p = c["patch_size"] // entry["stride"]
            channels = entry["channels"] if entry["kind"] == "image" else entry["class_emb_dim"]
            flop = 2 * len(masks.visible[name][0]) * channels * p * p * c["encoder"]["dim"]
            if entry["kind"] == "image":
                first += flop
            else:
                embedded += flop
        forward = first + embedded + b * blocks(c["encoder"]["dim"], c["encoder"]["depth"], rows)
        for entry in c["outputs"].values():
            d, p = entry["dim"], c["patch_size"] // entry["stride"]
            forward += b * 2 * (
                rows * c["encoder"]["dim"] * d  # proj_context
                + rows * 2 * d * d + n * 2 * d * d + 2 * n * rows * d  # cross-attention: kv, q and proj, scores and values
                + n * 2 * ratio * d * d  # MLP
                + n * d * entry["channels"] * p * p  # out_proj
            ) + b * blocks(d, entry["depth"], n)
        return forward, 3 * forward - first


class FineTuning(Work):
    """A fine-tuned model in evaluation mode with a batch and its truth."""

    def __init__(self, model_name: str, head: str, inputs: list, size: int, batch: int, seed: int):
        base = multimae.preset(model_name)
        base["image_size"], base["inputs"] = size, {name: base["inputs"][name] for name in inputs}
        self.config = multivit.preset(base, head)
        (task, output), = self.config["outputs"].items()
        output.update(main_tasks=inputs)
        torch.manual_seed(seed)
        self.inputs = {name: torch.randn(batch, base["inputs"][name]["channels"], size, size) for name in inputs}
        if head == "dpt":
            output.update(loss="berhu")
            self.targets = {task: 10 * torch.rand(batch, 1, size, size)}
        else:
            output.update(num_classes=ROOM_CLASSES)
            self.targets = {task: torch.randint(ROOM_CLASSES, (batch, size, size))}
        self.batch, self.model = batch, multivit.MultiViT(self.config).eval()

    def to(self, device: str):
        self.model.to(device)
        self.inputs, self.targets = ({name: x.to(device) for name, x in some.items()} for some in (self.inputs, self.targets))
        return self

    def forward(self, model=None) -> dict:
        return (model or self.model)(self.inputs)

    def loss(self, model=None):
        preds = {name: x.float() for name, x in self.forward(model).items()}
        return sum(self.model.losses(preds, self.targets, {}).values())

    def flop(self) -> tuple:
        from torch.utils.flop_counter import FlopCounterMode
        multimae.FUSED_ATTENTION = False
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self.forward()
        return counter.get_total_flops(), 3 * counter.get_total_flops()


# ---------------------------------------------------------------------------------------------------------------
# Settings


@contextlib.contextmanager
def precision(dtype: str, device: str):
    torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
    with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
        yield


def synchronize(device: str):
    if device == "cuda":
        torch.cuda.synchronize()


def environment(threads: int) -> dict:
    """The environment of a process that measures. It sets the number of threads, which libraries read only once; the
    best kernels of libraries that do not know the CPU, or AVX2 alone where GOMAE_SIMD says so; and an allocator that keeps memory rather than return it to the
    system, which makes a training step a tenth faster."""
    settings = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS") if threads}
    settings.update(MALLOC_MMAP_THRESHOLD_=str(1 << 33), MALLOC_TRIM_THRESHOLD_=str(1 << 34), MALLOC_TOP_PAD_=str(1 << 28))
    # Compiled code is specific to the number of threads, so each number has a cache of its own.
    settings["TORCHINDUCTOR_CACHE_DIR"] = os.path.join(tempfile.gettempdir(), "gomae-inductor-%d" % threads)
    if os.environ.get("GOMAE_SIMD") == "avx2":
        settings.update(OPENBLAS_CORETYPE="HASWELL", ONEDNN_MAX_CPU_ISA="AVX2", DNNL_MAX_CPU_ISA="AVX2",
                        MKL_ENABLE_INSTRUCTIONS="AVX2", ATEN_CPU_CAPABILITY="avx2")
        settings["TORCHINDUCTOR_CACHE_DIR"] += "-avx2"
    else:
        try:
            with open("/proc/cpuinfo", encoding="utf-8") as f:
                if " avx512vl " in f.read():
                    settings["OPENBLAS_CORETYPE"] = "SKYLAKEX"
        except OSError:
            pass
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    return {**settings, **inherited, "GOMAE_BENCH_THREADS": str(threads)}


def compiled(function, variant: str):
    """function as the variant computes it. What the compiler remembers of other variants is dropped."""
    if variant in UNCOMPILED:
        return function
    import torch._dynamo
    import torch._inductor.config
    torch._dynamo.reset()
    # Packed weights take effect only without gradients; the compiler's own matrix product needs them too.
    torch._inductor.config.freezing = variant in ("freeze", "compile-onednn", "max-autotune")
    if variant == "max-autotune":
        torch._inductor.config.max_autotune_gemm_backends = "ATEN,TRITON,CPP"
    mode = variant if variant in ("max-autotune", "reduce-overhead") else None
    return torch.compile(function, mode=mode, dynamic=False)


class OneDNNProduct(torch.autograd.Function):
    """x·wᵀ + bias for x [..., K] and w [N, K], and its gradients, by the operator that torch.compile itself uses for
    bfloat16."""

    @staticmethod
    def product(x, w, bias=None):
        return torch.ops.mkldnn._linear_pointwise(x, w, bias, "none", [], "")

    @staticmethod
    def forward(ctx, x, w, bias):
        ctx.save_for_backward(x, w)
        return OneDNNProduct.product(x, w, bias)

    @staticmethod
    def backward(ctx, grad):
        x, w = ctx.saved_tensors
        rows = grad.flatten(0, -2)
        return OneDNNProduct.product(grad, w.t()), OneDNNProduct.product(rows.t(), x.flatten(0, -2).t()), rows.sum(0)


class OneDNNLinear(torch.nn.Module):
    """A linear layer computed by oneDNN, for training or with its weights packed ahead."""

    def __init__(self, linear: torch.nn.Linear, packed: bool):
        super().__init__()
        self.packed, self.weight, self.bias = packed, linear.weight, linear.bias
        if packed:
            del self.weight
            self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())

    def forward(self, x):
        if self.packed:
            return OneDNNProduct.product(x, self.weight, self.bias)
        return OneDNNProduct.apply(x, self.weight, self.bias)


def with_onednn(model: torch.nn.Module, packed: bool) -> torch.nn.Module:
    """A copy of a model with every linear layer computed by oneDNN."""
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, torch.nn.Linear):
                setattr(module, name, OneDNNLinear(child, packed))
    return model


def model_for(work: Work, variant: str, packed: bool) -> torch.nn.Module:
    return with_onednn(work.model, packed) if variant.endswith("onednn") else work.model


def attentions() -> list:
    return [True, False] if hasattr(torch.nn.functional, "scaled_dot_product_attention") else [False]


def fastest(candidates: dict, device: str):
    """The key of the fastest function. Each is called for half a second and at least three times."""
    best = {key: time_calls(call, 0.5, device, least=3)[1] for key, call in candidates.items()}
    return min(best, key=best.get)


def optimizers(parameters) -> dict:
    """The implementations of torch.optim.AdamW that this version and device offer, with the paper's settings."""
    made = {}
    for name, flags in {"fused": {"fused": True}, "foreach": {"foreach": True}, "plain": {"foreach": False}}.items():
        try:
            made[name] = lambda flags=flags: torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05, **flags)
            made[name]()
        except (RuntimeError, TypeError, ValueError):
            del made[name]
    return made


# ---------------------------------------------------------------------------------------------------------------
# Measuring


def time_calls(call, seconds: float, device: str = "cpu", least: int = 2) -> tuple:
    """Call repeatedly for about that many seconds. Returns the number of calls and the mean time of one in seconds."""
    call()
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    n = max(least, math.ceil(seconds / max(1e-9, time.perf_counter() - start)))
    start = time.perf_counter()
    for _ in range(n):
        call()
    synchronize(device)
    return n, (time.perf_counter() - start) / n


def machine() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            return next(line.partition(":")[2].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def header(**settings):
    """Print configuration lines of Go's benchmark format."""
    arch = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    settings = {"goos": platform.system().lower(), "goarch": arch, "pkg": "github.com/gomae/gomae/bench", "cpu": machine(), **settings}
    for key, value in settings.items():
        print("%s: %s" % (key, value))
    sys.stdout.flush()


def model_name(model: str) -> str:
    return os.path.basename(os.path.normpath(model))


def bench_name(mode: str, model: str, batch: int, where: str) -> str:
    bench = {"forward": "Forward", "train": "TrainStep", "finetune": "Finetune"}[mode]
    return "Benchmark%s/model=%s/batch=%d/%s" % (bench, model, batch, where)


def report(name: str, batch: int, calls: int, seconds: float, flop: float):
    print("%s\t%8d\t%12.0f ns/op\t%10.3f ms/image\t%10.2f GFLOP/s" % (
        name, calls, seconds * 1e9, seconds * 1e3 / batch, flop / seconds / 1e9))
    sys.stdout.flush()


def relative(got, want) -> float:
    got, want = got.detach().double(), want.detach().double()
    return ((got - want).norm() / want.norm()).item()


def grad_norm(model) -> torch.Tensor:
    return torch.stack([x.grad.double().norm() for x in model.parameters() if x.grad is not None]).norm()


class Wrong(Exception):
    """A variant computes something else than plain float32 does."""


def hold(what: str, error: float, limit: float):
    if not error <= limit:
        raise Wrong("%s is off by %.1e, want at most %.0e" % (what, error, limit))


def bench_forward(work: Work, variant: str, dtype: str, device: str, seconds: float) -> tuple:
    with torch.no_grad():
        multimae.FUSED_ATTENTION = False
        with precision("float32", device):
            want = work.forward()

        model = model_for(work, variant, packed=True)
        ways = attentions()
        forward = {}
        for fused in ways if variant in UNCOMPILED else ways[:1]:
            def one(fused=fused, f=compiled(work.forward, variant)):
                multimae.FUSED_ATTENTION = fused
                with precision(dtype, device):
                    return f(model)
            forward["fused attention" if fused else "plain attention"] = one
        for one in forward.values():
            for name, x in one().items():
                hold("prediction of " + name, relative(x, want[name]), TOLERANCE[dtype][0])
        way = fastest(forward, device) if len(forward) > 1 else next(iter(forward))
        return time_calls(forward[way], seconds, device) + (way,)


def bench_train(work: Work, variant: str, dtype: str, device: str, seconds: float) -> tuple:
    multimae.FUSED_ATTENTION = False
    work.model.zero_grad(set_to_none=True)
    with precision("float32", device):
        want = work.loss()
        want.backward()
    want_norm = grad_norm(work.model)
    work.model.zero_grad(set_to_none=True)
    model = model_for(work, variant, packed=False)

    ways = attentions()
    gradients = {}
    for fused in ways if variant in UNCOMPILED else ways[:1]:
        def one(fused=fused, f=compiled(work.loss, variant)):
            multimae.FUSED_ATTENTION = fused
            model.zero_grad(set_to_none=True)
            with precision(dtype, device):
                loss = f(model)
            loss.backward()
            return loss
        gradients["fused attention" if fused else "plain attention"] = one
    for one in gradients.values():
        hold("the loss", relative(one(), want), TOLERANCE[dtype][1])
        hold("the gradient", relative(grad_norm(model), want_norm), TOLERANCE[dtype][2])
    way = fastest(gradients, device) if len(gradients) > 1 else next(iter(gradients))
    if isinstance(work, FineTuning):
        layouts = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
        spent = {}
        for name, layout in layouts.items():
            model.to(memory_format=layout)
            hold("the loss", relative(gradients[way](), want), TOLERANCE[dtype][1])
            hold("the gradient", relative(grad_norm(model), want_norm), TOLERANCE[dtype][2])
            spent[name] = time_calls(gradients[way], 0.5, device, least=3)[1]
        layout = min(spent, key=spent.get)
        model.to(memory_format=layouts[layout])

    trained = [x for x in model.parameters() if x.requires_grad]
    before = [x.detach().clone() for x in trained]
    made, spent = optimizers(trained), {}
    for name, make in made.items():  # one at a time, because each holds two more copies of the parameters
        spent[name] = time_calls(make().step, 0.2, device, least=2)[1]
    optimizer_name = min(spent, key=spent.get)
    optimizer = made[optimizer_name]()

    def step():
        gradients[way]()
        optimizer.step()

    result = time_calls(step, seconds, device)
    with torch.no_grad():  # the next variant starts from the same weights
        for x, old in zip(trained, before):
            x.copy_(old)
    model.zero_grad(set_to_none=True)
    how = [way, "AdamW " + optimizer_name]
    if isinstance(work, FineTuning):
        model.to(memory_format=torch.contiguous_format)
        how.insert(1, layout)
    return result + (", ".join(how),)


def run_for_each(threads: list, args) -> int:
    """Run this program once for each number of threads. Prints their output and, with --results, stores it."""
    codes, lines, path = [], [], None
    if args.results:
        device = torch.cuda.get_device_name() if args.device == "cuda" else machine()
        name = re.sub("[^a-z0-9]+", "-", device.lower()).strip("-") + "-" + model_name(args.model)
        os.makedirs(args.results, exist_ok=True)
        path = os.path.join(args.results, name + ".txt")
    for n in threads:
        with subprocess.Popen([sys.executable] + sys.argv, env=environment(n), stdout=subprocess.PIPE, text=True) as child:
            for line in child.stdout:
                print(line, end="", flush=True)
                lines.append(line)
                if path and line.startswith("Benchmark"):  # at once, for a run that is stopped
                    store(path, lines)
        codes.append(child.returncode)
    if path and os.path.exists(path):
        print("# the results are in " + path, file=sys.stderr)
    return max(codes)


def store(path: str, lines: list):
    with open(path + ".tmp", "w", encoding="utf-8") as f:
        f.write(time.strftime("date: %Y-%m-%d\n", time.gmtime()))
        f.writelines(lines)
    os.replace(path + ".tmp", path)


def numbers(text: str) -> list:
    return [int(n) for n in text.split(",")]


def among(known):
    def words(text: str) -> list:
        for word in text.split(","):
            if word not in known:
                raise argparse.ArgumentTypeError("got %r, want some of %s" % (word, ", ".join(known)))
        return text.split(",")
    return words


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="base", help="tiny, small, base, large, or a config.json (base)")
    parser.add_argument("--batch", type=numbers, default=[1, 8], help="batch sizes (1,8)")
    parser.add_argument("--tokens", type=int, help="visible patches per sample (a sixth: 98 of 588)")
    parser.add_argument("--threads", type=numbers, default=[1, os.cpu_count() or 1], help="numbers of threads on a CPU (1 and all)")
    parser.add_argument("--bench", type=re.compile, default=re.compile("."), metavar="REGEXP",
                        help="only benchmarks whose names match, such as Forward/model=base/batch=8 (all)")
    parser.add_argument("--mode", type=among(("forward", "train", "finetune")), default=["forward", "train"],
                        help="forward, train or both (both), or finetune")
    parser.add_argument("--head", choices=["convnext", "segmenter", "dpt"], default="convnext", help="for finetune (convnext)")
    parser.add_argument("--inputs", type=among(("rgb", "depth")), default=["rgb"], help="for finetune: rgb, depth or both (rgb)")
    parser.add_argument("--size", type=int, default=224, help="for finetune: of images, in pixels (224)")
    parser.add_argument("--compile", type=among(VARIANTS), default=["eager", "onednn", "compile", "freeze"],
                        help="variants, as listed above (eager,onednn,compile,freeze)")
    parser.add_argument("--dtype", type=among(PRECISIONS), default=["float32", "bfloat16"], help="precisions (float32,bfloat16)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--seconds", type=float, default=3, help="for each measurement (3)")
    parser.add_argument("--count", type=int, default=1, help="measurements of each benchmark (1)")
    parser.add_argument("--results", metavar="FOLDER", help="also write the results to FOLDER/DEVICE-MODEL.txt")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if "finetune" in args.mode and len(args.mode) > 1:
        parser.error("--mode: finetune stands alone, because it has another model")
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch_bench.py: --device cuda: torch %s finds no CUDA device here" % torch.__version__)

    if "GOMAE_BENCH_THREADS" not in os.environ:  # a process for each number of threads
        sys.exit(run_for_each(args.threads if args.device == "cpu" else [0], args))

    threads = int(os.environ["GOMAE_BENCH_THREADS"])
    if threads:
        torch.set_num_threads(threads)
    settings = {"peer": "torch", "version": torch.__version__, "device": "cpu"}
    if args.device == "cuda":
        settings.update(device=torch.cuda.get_device_name(), cuda=torch.version.cuda)
    header(**settings)
    where = "threads=%d" % threads if threads else "device=cuda"
    name = model_name(args.model)
    if args.mode == ["finetune"]:
        name += "/head=%s/inputs=%s/size=%d" % (args.head, ",".join(args.inputs), args.size)
    done = failed = 0
    for batch in args.batch:
        names = {mode: bench_name(mode, name, batch, where) for mode in args.mode}
        names = {mode: bench for mode, bench in names.items() if args.bench.search(bench)}
        if not names:
            continue
        if args.mode == ["finetune"]:
            work = FineTuning(args.model, args.head, args.inputs, args.size, batch, args.seed).to(args.device)
        else:
            work = Work(args.model, batch, args.tokens, args.seed).to(args.device)
        for mode, dtype, variant in itertools.product(names, args.dtype, args.compile):
            if mode != "forward" and variant in FORWARD_ONLY or dtype == "tf32" and args.device == "cpu":
                continue
            if variant.endswith("onednn") and (dtype != "float32" or args.device != "cpu"):
                continue
            bench = bench_forward if mode == "forward" else bench_train
            try:
                for _ in range(args.count):
                    calls, seconds, how = bench(work, variant, dtype, args.device, args.seconds)
                    print("# %s\nvariant: %s-%s" % (how, variant, PRECISIONS[dtype]))
                    report(names[mode], batch, calls, seconds, work.flop()[mode != "forward"])
                    done += 1
            except Exception as e:  # compilers raise many kinds; the other variants go on
                failed += 1
                print("# no %s in %s of %s: %s: %s" % (
                    variant, dtype, names[mode], type(e).__name__, str(e).strip().partition("\n")[0][:200]), file=sys.stderr)
    sys.exit(1 if failed and not done else 0)


if __name__ == "__main__":
    main()
