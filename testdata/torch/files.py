#!/usr/bin/env python3
"""Read files of weights with the official libraries: safetensors, torch.load and timm.

    python files.py check FOLDER...                   # compares files that differ only in their extension
    python files.py check a.safetensors b.pth c.pth   # compares the others with the first
    python files.py timm testdata/timm                # writes a small VisionTransformer of timm and its features

check opens each file with the official library of its format and compares names, dtypes, shapes and bits. It calls
torch.load with weights_only=True, which accepts tensors and nothing that could run code. The exit code is 1 unless all
files agree.
"""
from __future__ import annotations

import argparse
import json
import os
import sys

import torch

sys.dont_write_bytecode = True  # leave no __pycache__ in the checkout
import multivit
import tensorfile

FORMATS = (".safetensors", ".pth", ".pt")


# ---------------------------------------------------------------------------------------------------------------
# check


def load(path: str) -> dict:
    """All tensors of a file, or those under "model" if a .pth holds more than weights."""
    if path.endswith(".safetensors"):
        import safetensors

        with safetensors.safe_open(path, framework="pt") as f:
            return {name: f.get_tensor(name) for name in f.keys()}
    content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict) or not all(isinstance(x, torch.Tensor) for x in content.values()):
        raise ValueError("its content is not a dict of tensors")
    return dict(content)


def difference(got: dict, want: dict) -> str:
    """Describe the first tensor that differs in any bit. Empty if none does."""
    for name in sorted(want.keys() | got.keys()):
        if name not in got or name not in want:
            return "%s: only in %s file" % (name, "the other" if name not in got else "this")
        x, y = got[name], want[name]
        if x.dtype != y.dtype or x.shape != y.shape:
            return "%s: %s %s, in the other file %s %s" % (name, x.dtype, list(x.shape), y.dtype, list(y.shape))
        bits = [t.contiguous().flatten().view(torch.uint8).reshape(t.numel(), -1) for t in (x, y)]
        wrong = (bits[0] != bits[1]).any(1).nonzero().flatten()
        if len(wrong):
            i = wrong[0].item()
            return "%s: %d of %d values differ, first element %d: %s, in the other file %s" % (
                name, len(wrong), x.numel(), i, x.flatten()[i].item(), y.flatten()[i].item())
    return ""


def check(paths: list) -> bool:
    groups, singles = [], []
    for path in paths:
        if not os.path.isdir(path):
            singles.append(path)
            continue
        names = sorted((n for n in os.listdir(path) if n.endswith(FORMATS)), key=lambda n: (os.path.splitext(n)[0], n.endswith(FORMATS[1:])))
        if not names:
            sys.exit("files.py: %s has no %s" % (path, ", ".join(FORMATS)))
        for stem in dict.fromkeys(os.path.splitext(n)[0] for n in names):
            groups.append([os.path.join(path, n) for n in names if os.path.splitext(n)[0] == stem])
    if singles:
        groups.append(singles)
    good = True
    for group in groups:
        first = None
        for path in group:
            try:
                tensors = load(path)
            except Exception as e:  # the libraries raise many kinds
                lines = [line.strip() for line in str(e).splitlines()] or [""]
                reason = next((line for line in lines if line.startswith("WeightsUnpickler")), lines[0])
                print("%s: FAIL: %s: %s" % (path, type(e).__name__, reason))
                good = False
                continue
            line = "%s: %d tensors, %d values" % (path, len(tensors), sum(x.numel() for x in tensors.values()))
            if first is not None:
                wrong = difference(tensors, first[1])
                line += "; FAIL: " + wrong if wrong else "; the same as " + first[0]
                good = good and not wrong
            else:
                first = path, tensors
            print(line)
    print("pass" if good else "FAIL")
    return good


# ---------------------------------------------------------------------------------------------------------------
# timm


def from_timm(weights: dict, config: dict) -> dict:
    """Convert the weights of a timm VisionTransformer to those of a MultiViT. The class token plus its position becomes the
    global token, which comes last. The projection becomes the adapter of RGB, the final norm that of the linear head."""
    side = config["image_size"] // config["patch_size"]
    pos = weights["pos_embed"]
    names = {"patch_embed.proj.": "input_adapters.rgb.proj.", "blocks.": "encoder.", "norm.": "output_adapters.cls.norm.", "head.": "output_adapters.cls.head."}
    out = {"global_tokens": weights["cls_token"] + pos[:, :1],
           "input_adapters.rgb.pos_emb": pos[:, 1:].transpose(1, 2).reshape(1, -1, side, side)}
    for name, x in weights.items():
        for old, new in names.items():
            if name.startswith(old):
                out[new + name[len(old):]] = x
    return out


def make_timm(folder: str):
    try:
        import timm
        from timm.models.vision_transformer import VisionTransformer
    except ImportError as e:
        sys.exit("files.py: %s; install timm with: pip install timm==1.0.31" % e)
    torch.manual_seed(0)
    args = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=4, num_classes=5)
    model = VisionTransformer(**args).eval()
    with torch.no_grad():
        for name, x in model.named_parameters():
            if x.dim() == 1 or name == "cls_token":  # none stays 0 or 1, which would hide mistakes
                x.add_(0.1 * torch.randn_like(x))
    weights = {k: x.clone() for k, x in model.state_dict().items()}
    image = torch.randn(2, 3, args["img_size"], args["img_size"])

    model.double()
    features = []
    model.blocks[-1].register_forward_hook(lambda _m, _in, out: features.append(out))
    with torch.no_grad():
        logits = model(image.double())
        normed = model.forward_features(image.double())
    expected = {"features": features[0], "norm": normed, "logits": logits}

    # MultiViT must compute the same from the converted weights.
    config = {
        "model": "multivit", "image_size": args["img_size"], "patch_size": args["patch_size"], "num_global_tokens": 1,
        "encoder": {"dim": args["embed_dim"], "depth": args["depth"], "heads": args["num_heads"], "mlp_ratio": 4, "qkv_bias": True, "layer_norm_eps": 1e-6},
        "inputs": {"rgb": {"kind": "image", "channels": 3, "stride": 1}},
        "outputs": {"cls": {"head": "linear", "num_classes": args["num_classes"], "mean_pooling": False, "loss": "cross_entropy"}},
    }
    ours = multivit.MultiViT(config)
    ours.load_state_dict(from_timm(weights, config))
    with torch.no_grad():
        layers = ours.double().eval().encode({"rgb": image.double()})
        preds = ours.decode(layers, {"rgb": image.double()})
    n = (args["img_size"] // args["patch_size"]) ** 2
    x = torch.cat([layers[-1][:, n:], layers[-1][:, :n]], dim=1)  # timm has the class token first
    for name, got in (("features", x), ("logits", preds["cls"])):
        error = ((got - expected[name]).norm() / expected[name].norm()).item()
        # The global token is a sum of two numbers, rounded to float32.
        print("%s: MultiViT with the same weights is off by %.1e" % (name, error))
        if not error < 1e-7:
            sys.exit("files.py: MultiViT disagrees with timm")

    os.makedirs(folder, exist_ok=True)
    tensorfile.save(os.path.join(folder, "model.safetensors"), weights)
    torch.save(weights, os.path.join(folder, "model.pth"))
    tensorfile.save(os.path.join(folder, "inputs.safetensors"), {"in.rgb": image})
    tensorfile.save(os.path.join(folder, "expected.safetensors"), expected)
    with open(os.path.join(folder, "vit.json"), "w", encoding="utf-8") as f:
        json.dump({"timm_version": timm.__version__, "torch_version": torch.__version__.split("+")[0], **args}, f, indent=1)
        f.write("\n")


def main():
    parser = argparse.ArgumentParser(description="Open weights with the official libraries, or make a small ViT of timm.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="check|timm")
    c = commands.add_parser("check", help="open files with safetensors and torch.load and compare them bit by bit")
    c.add_argument("paths", nargs="+", metavar="FOLDER_OR_FILE")
    t = commands.add_parser("timm", help="write weights, input and features of a small timm VisionTransformer")
    t.add_argument("out", metavar="OUTDIR")
    args = parser.parse_args()
    if args.command == "check":
        sys.exit(0 if check(args.paths) else 1)
    make_timm(args.out)


if __name__ == "__main__":
    main()
