#!/usr/bin/env python3
"""Write a parity dump with PyTorch, or check dumps against this PyTorch.

    python dump.py tiny /tmp/dump                     # a preset, a config.json or a folder with one
    python dump.py base /tmp/b --batch 1 --device cuda --dtype float32,tf32,bfloat16
    python dump.py base --head dpt --device cuda --dtype tf32,bfloat16 --results ../../bench/results/gpu   # errors only
    python dump.py --check ../parity/*                # repeat dumps in float64 and float32
    gomae parity /tmp/dump                            # compare this project with it

A dump folder holds one model, one batch and one set of masks, and what PyTorch computes from them in float64. README.md
describes it.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import sys

import torch

sys.dont_write_bytecode = True  # leave no __pycache__ in the checkout
import multimae
import multivit
import tensorfile

NOISE = 1e-7  # share of the largest gradient norm below which a gradient, or an element of one, is pure rounding
TIE = 2e-6  # a difference in an L1 loss whose sign float32 may get wrong
LIMIT, FLOOR = 2.0, 5e-7  # as in package multimae/parity
OPTIM = {"lr": 0.001, "betas": [0.9, 0.95], "eps": 1e-5, "weight_decay": 0.05}
PRECISIONS = ("float64", "float32", "tf32", "bfloat16")


def fail(message: str):
    sys.exit("dump.py: " + message)


# ---------------------------------------------------------------------------------------------------------------
# A case: weights, batch and masks, made on the CPU so that they do not depend on the device


def build(config: dict):
    return (multivit.MultiViT if config["model"] == "multivit" else multimae.MultiMAE)(config)


def make_weights(model):
    """Draw initial weights, none of which is 0 or 1: those would hide mistakes."""
    multimae.init_weights(model)
    with torch.no_grad():
        for name, x in model.named_parameters():
            if name.endswith("mask_token"):
                x.add_(0.02 * torch.randn_like(x))
            elif x.dim() == 1:  # biases and norms
                x.add_(0.1 * torch.randn_like(x))


def make_inputs(config: dict, present: list, batch: int, tokens: int, size: list, ignore: float) -> dict:
    """The content of inputs.safetensors: normal pixels and uniform class ids. A share of `ignore` is invalid or 255."""
    h, w = size
    maps = {}
    for name, entry in config["inputs"].items():
        shape = (batch, h // entry["stride"], w // entry["stride"])
        if entry["kind"] == "classes":
            maps[name] = torch.randint(entry["num_classes"], shape)
            maps[name][torch.rand(shape) < ignore] = 255
        else:
            maps[name] = torch.randn(batch, entry["channels"], *shape[1:])
    tensors = {"in." + m: maps[m] for m in present}
    if config["model"] == "multivit":
        for name, entry in config["outputs"].items():
            shape = (batch,) if entry["head"] == "linear" else (batch, h, w)
            if entry["loss"] == "cross_entropy":
                tensors["target." + name] = torch.randint(entry["num_classes"], shape)
                if entry["head"] != "linear":
                    tensors["target." + name][torch.rand(shape) < ignore] = 255
            else:
                tensors["target." + name] = torch.randn(batch, entry["num_classes"], h, w)
                if ignore > 0:
                    tensors["valid." + name] = (torch.rand(batch, 1, h, w) >= ignore).long()
        return tensors
    grid = (h // config["patch_size"], w // config["patch_size"])
    masks = multimae.draw_masks(present, grid, batch, tokens)
    tensors.update(("target." + t, maps[o["task"]]) for t, o in config["outputs"].items())
    tensors.update(("mask." + m, masks.hidden(m).long()) for m in present)
    tensors.update(ids_keep=masks.ids_keep, ids_restore=masks.ids_restore)
    return tensors


# ---------------------------------------------------------------------------------------------------------------
# A run


@contextlib.contextmanager
def precision(name: str, device: str):
    """Compute in float64, in float32 without or with TF32, or in bfloat16 by autocast."""
    if name == "tf32" and device == "cpu":
        fail("--dtype tf32 needs --device cuda")
    if name == "bfloat16" and device == "cpu" and torch.__version__ < "2":
        fail("--dtype bfloat16 on a CPU needs torch 2 or newer; this is " + torch.__version__)
    torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = name == "tf32"  # for convolutions, where it is on by default
    try:
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=name == "bfloat16"):
            yield
    finally:
        torch.set_float32_matmul_precision("highest")


def forward_of(model, inputs: dict):
    """The forward pass, a function from the losses' dtype to the encoder's tokens, the predictions and the losses."""
    def given(prefix):
        return {k[len(prefix):]: x for k, x in inputs.items() if k.startswith(prefix)}
    config, images, targets, valid = model.config, given("in."), given("target."), given("valid.")
    if config["model"] == "multivit":
        def forward(dtype):
            layers = model.encode(images)
            preds = model.decode(layers, images)
            return layers[-1], preds, model.losses({k: x.to(dtype) for k, x in preds.items()}, targets, valid)
        return forward

    targets = {config["outputs"][t]["task"]: x for t, x in targets.items()}
    present = [m for m in config["inputs"] if m in images]
    ids = inputs["ids_keep"].cpu(), inputs["ids_restore"].cpu()
    masks = multimae.Masks(present, multimae.grid_of(config, images), *ids).to(inputs["ids_keep"].device)
    for m in present:
        if not torch.equal(masks.hidden(m), inputs["mask." + m].bool()):
            raise ValueError("mask.%s disagrees with ids_restore" % m)

    def forward(dtype):
        tokens = model.encode(images, masks)
        preds = model.decode(tokens, masks)
        losses = model.losses({k: x.to(dtype) for k, x in preds.items()}, targets, masks)
        return tokens, model.images(preds, masks), losses
    return forward


def run(config: dict, weights: dict, inputs: dict, steps: int, dtype: str, device: str, layers: bool = False, close: list = None) -> dict:
    """The content of expected.safetensors, in float64 on the CPU. With layers, it also has the output of each module in
    the first forward pass as layer.MODULE. For each step and each L1 loss, the smallest difference between prediction
    and target is appended to close."""
    model = build(config)
    model.load_state_dict(weights)
    to = dict(device=device, dtype=torch.float64 if dtype == "float64" else torch.float32)
    model.to(**to).eval()  # no dropout
    forward = forward_of(model, {k: x.to(**to) if x.is_floating_point() else x.to(device) for k, x in inputs.items()})
    trained = {name: x for name, x in model.named_parameters() if x.requires_grad}
    o = config["optim"]
    optimizer = torch.optim.AdamW(trained.values(), lr=o["lr"], betas=o["betas"], eps=o["eps"], weight_decay=o["weight_decay"])
    results, hooks = {}, []
    def keep(key, x):
        results[key] = x.detach().to(device="cpu", dtype=torch.float64, copy=True)
    if layers:
        for name, module in model.named_modules():
            if name:
                hooks.append(module.register_forward_hook(lambda _m, _in, out, key="layer." + name: keep(key, out)))

    for step in range(steps):
        with precision(dtype, device):
            tokens, preds, losses = forward(to["dtype"])
        for hook in hooks:
            hook.remove()
        for name, x in preds.items():
            if close is not None and config["outputs"][name]["loss"] == "l1" and "target." + name in inputs:
                close.append((x.detach().cpu() - inputs["target." + name]).abs().min().item())
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        if step == 0:
            keep("encoder", tokens)
            for name, x in preds.items():
                keep("out." + name, x)
            for name, x in losses.items():
                keep("loss." + name, x.reshape(1))
            for name, x in trained.items():
                keep("grad." + name, torch.zeros_like(x) if x.grad is None else x.grad)
        keep("step%d.loss" % step, total.reshape(1))
        optimizer.step()
    for name, x in trained.items():
        keep("param." + name, x)
    return results


def group(key: str) -> str:
    return key.partition(".")[0]


def errors(got: dict, want: dict, reach: float) -> dict:
    """For each group of tensors the largest ‖got − want‖/‖want‖ and the tensor that has it. An element of a trained
    parameter whose gradient is rounding may be off by reach: AdamW makes steps of ±lr of it."""
    norms = {k: x.double().norm().item() for k, x in want.items()}
    largest = max([n for k, n in norms.items() if group(k) == "grad"], default=0.0)
    worst = {}
    for key, x in want.items():
        if key not in got:
            raise ValueError("the dump has %r, which this program does not compute" % key)
        if got[key].shape != x.shape:
            raise ValueError("%s has shape %s, want %s" % (key, list(got[key].shape), list(x.shape)))
        apart, x = got[key] - x.double(), x.double()
        grad = want.get("grad." + key[len("param."):]) if group(key) == "param" else None
        if grad is not None and grad.count_nonzero() > 0:
            judged = ~((grad.abs() < NOISE * largest) & (apart.abs() <= reach))
            apart, x = apart[judged], x[judged]
        difference, norm = apart.norm().item(), x.norm().item()
        if group(key) == "grad" and norm < NOISE * largest:
            norm = largest
        error = difference / norm if norm > 0 else float("inf") if difference else 0.0
        if error != error:  # NaN, below which nothing is
            error = float("inf")
        if not error < worst.get(group(key), (-1.0,))[0]:
            worst[group(key)] = (error, key)
    return worst


def stored(x: torch.Tensor) -> torch.Tensor:
    return x if x.numel() <= 64 else x.float()


# ---------------------------------------------------------------------------------------------------------------
# Commands


def write(args):
    if os.path.exists(args.what):
        config = multimae.load_config(args.what)
    else:
        config = multimae.preset(args.what, args.classes)
        if args.head:
            config = multivit.preset(config, args.head)
    before = config.pop("case", {})
    config.pop("train", None)
    config.setdefault("optim", OPTIM)

    p = config["patch_size"]
    size = args.image_size or before.get("image_size") or [config["image_size"]] * 2
    if min(size) < p or size[0] % p or size[1] % p:
        fail("--image-size %d %d: want multiples of the patch size %d" % (*size, p))
    present = args.inputs.split(",") if args.inputs else list(config["inputs"])
    for m in present:
        if m not in config["inputs"]:
            fail("--inputs: %r is not an input of this model; it has %s" % (m, ", ".join(config["inputs"])))
    present = [m for m in config["inputs"] if m in present]
    patches = len(present) * (size[0] // p) * (size[1] // p)
    if config["model"] == "multivit":
        tokens = patches  # no masks
        for name, entry in config["outputs"].items():
            for m in entry.get("main_tasks", []):
                if m not in present:
                    fail("%s is a main task of outputs.%s and must be an input of the batch" % (m, name))
    else:
        tokens = args.tokens or min(patches, before.get("num_encoded_tokens") or max(1, patches // 6))
    if not 1 <= tokens <= patches:
        fail("--tokens %d: want 1..%d" % (tokens, patches))
    batch = args.batch or before.get("batch") or 2
    steps = args.steps or before.get("steps") or 3
    dtypes = [d for d in dict.fromkeys(["float32"] + args.dtype.split(",")) if d != "float64"]

    torch.manual_seed(args.seed)
    model = build(config)
    make_weights(model)
    weights = {k: x.detach() for k, x in model.state_dict().items()}
    inputs = make_inputs(config, present, batch, tokens, size, args.ignore)
    close = []
    want = run(config, weights, inputs, steps, "float64", args.device, args.layers, close)
    layers = {k: want.pop(k) for k in list(want) if group(k) == "layer"}
    reach = LIMIT * steps * config["optim"]["lr"]
    measured = {d: {g: e for g, (e, _) in errors(run(config, weights, inputs, steps, d, args.device), want, reach).items()} for d in dtypes}

    case = {"batch": batch, "num_encoded_tokens": tokens, "image_size": size, "steps": steps}
    if config["model"] == "multivit":
        del case["num_encoded_tokens"]
    case["torch_version"] = torch.__version__.split("+")[0]
    if args.device != "cpu":
        case["device"] = device_name(args.device)
    for d, e in measured.items():
        case["torch_%s_rel_err" % {"float32": "fp32"}.get(d, d)] = e
    config["case"] = case
    print("%s on %s: %s, %d samples of %d×%d, %d of %d patches visible" % (args.out or args.what, device_name(args.device),
          "+".join(present), batch, *size, tokens, patches))
    print("  %-10s" % "group" + "".join("%12s" % d for d in dtypes))
    for g in measured["float32"]:
        print("  %-10s" % g + "".join("%12.2e" % measured[d][g] for d in dtypes))
    if min(close, default=1) < TIE:
        print("  a prediction and its L1 target differ by %.1e: rounding decides the sign of that gradient, so the steps after it "
              "may disagree by more than rounding; take another --seed" % min(close), file=sys.stderr)
    if args.results:
        outputs = "+".join(o.get("head", t) for t, o in config["outputs"].items())
        what = os.path.abspath(args.what) if os.path.exists(args.what) else args.what
        what = os.path.basename(os.path.dirname(what) if os.path.isfile(what) else what)
        model = "%s %s %s" % (what, config["model"], outputs)
        store_results(args.results, args.device, [model, str(batch), "%dx%d" % tuple(size)], measured)
    if not args.out:
        return
    os.makedirs(args.out, exist_ok=True)
    tensorfile.save(os.path.join(args.out, "model.safetensors"), weights)
    tensorfile.save(os.path.join(args.out, "inputs.safetensors"), inputs)
    tensorfile.save(os.path.join(args.out, "expected.safetensors"), {k: stored(x) for k, x in want.items()})
    if layers:
        tensorfile.save(os.path.join(args.out, "layers.safetensors"), {k: stored(x) for k, x in layers.items()})
    with open(os.path.join(args.out, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f, indent=1)
        f.write("\n")


def device_name(device: str) -> str:
    """The name of the GPU, or of the CPU if the system tells it."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            for line in f:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def store_results(folder: str, device: str, case: list, measured: dict):
    """Put the errors of a case into FOLDER/DEVICE.tsv. They replace those of the same case and version of torch."""
    name = device_name(device)
    path = os.path.join(folder, re.sub("[^a-z0-9]+", "-", name.lower()).strip("-") + ".tsv")
    header = "model\tbatch\tpixels\ttorch\tdtype\tgroup\trel_err"
    key = "\t".join(case + [torch.__version__]) + "\t"
    rows = []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            rows = [line for line in f.read().splitlines()[2:] if not line.startswith(key)]
    for d, e in measured.items():
        rows += [key + "%s\t%s\t%.3g" % (d, g, x) for g, x in e.items()]
    os.makedirs(folder, exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write("# largest relative error against float64 on the same device: %s\n%s\n%s\n" % (name, header, "\n".join(rows)))
    print("  the results are in " + path)


def check(args) -> bool:
    dtypes = ["float64", "float32"] + [d for d in args.dtype.split(",") if d not in ("float64", "float32")]
    good = True
    for folder in args.check:
        try:
            config = multimae.load_config(folder)
            torch_error = config["case"]["torch_fp32_rel_err"]
            weights, inputs, want = (
                tensorfile.load(os.path.join(folder, name + ".safetensors")) for name in ("model", "inputs", "expected")
            )
            layers = os.path.join(folder, "layers.safetensors")
            if os.path.exists(layers):
                want.update(tensorfile.load(layers))
            found = {}
            for d in dtypes:
                got = run(config, weights, inputs, config["case"]["steps"], d, args.device, os.path.exists(layers))
                found[d] = errors(got, want, LIMIT * config["case"]["steps"] * config["optim"]["lr"])
        except (OSError, KeyError, ValueError, RuntimeError) as e:
            print("%s: %s: %s" % (folder, type(e).__name__, e))
            good = False
            continue
        print("%s (torch %s here, %s in the dump, %s)" % (folder, torch.__version__, config["case"].get("torch_version"), args.device))
        columns = "  %-8s%12s%10s%10s%7s" % ("group", "in the dump", "float64", "float32", "ratio")
        print(columns + "".join("%10s" % d for d in dtypes[2:]) + "  worst in float32")
        for g, (double, _) in found["float64"].items():
            bar = torch_error.get(g, 0.0)
            single, worst = found["float32"][g]
            line = "  %-8s%12.2e%10.1e%10.2e%7.2f" % (g, bar, double, single, single / max(bar, FLOOR / LIMIT))
            line += "".join("%10.2e" % found[d][g][0] for d in dtypes[2:])
            # A value stored as float32 is off by up to half a unit in its last place.
            ok = double <= 1e-7 and (single <= max(LIMIT * bar, FLOOR) or g == "layer")
            good = good and ok
            print(line + "  " + worst + ("" if ok else "  FAIL"))
    print("pass" if good else "FAIL")
    return good


def main():
    parser = argparse.ArgumentParser(description="Write a parity dump with PyTorch, or check dumps against this PyTorch.")
    parser.add_argument("what", nargs="?", metavar="CONFIG_OR_PRESET",
                        help="config.json, a folder with one (its case sets the defaults), or a preset: tiny, small, base, large")
    parser.add_argument("out", nargs="?", metavar="OUTDIR", help="folder to write")
    parser.add_argument("--check", nargs="+", metavar="DIR", help="repeat these dumps and print the error of each group")
    parser.add_argument("--batch", type=int, help="samples (2)")
    parser.add_argument("--tokens", type=int, help="visible patches per sample of a multimae (a sixth)")
    parser.add_argument("--image-size", type=int, nargs=2, metavar=("H", "W"), help="pixels (the model's size)")
    parser.add_argument("--steps", type=int, help="steps of AdamW (3)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, batch and masks (0)")
    parser.add_argument("--inputs", help="modalities to include, separated by commas (all)")
    parser.add_argument("--classes", type=int, default=133, help="number of classes of a preset's semantic map (133)")
    parser.add_argument("--ignore", type=float, default=0.0, help="share of ignored class ids (255) and of invalid pixels (0)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    parser.add_argument("--dtype", default="float32",
                        help="also measure the error of tf32 or bfloat16 (autocast), separated by commas")
    parser.add_argument("--head", choices=multivit.HEADS, help="turn a preset into a MultiViT with this head")
    parser.add_argument("--results", metavar="FOLDER",
                        help="put the errors into FOLDER/DEVICE.tsv; without OUTDIR no dump is written")
    parser.add_argument("--layers", action="store_true", help="also write layers.safetensors, the output of each module")
    args = parser.parse_args()
    for d in args.dtype.split(","):
        if d not in PRECISIONS:
            fail("--dtype %r: want %s" % (d, ", ".join(PRECISIONS)))
    if args.check:
        sys.exit(0 if check(args) else 1)
    if not args.what or not (args.out or args.results):
        parser.error("give CONFIG_OR_PRESET and OUTDIR, or --check DIR...")
    if args.device != "cpu" and not torch.cuda.is_available():
        fail("--device %s: torch %s finds no GPU here" % (args.device, torch.__version__))
    try:
        write(args)
    except ValueError as e:
        fail(str(e))


if __name__ == "__main__":
    main()
