"""MultiViT in plain PyTorch: the encoder of a MultiMAE with heads of downstream tasks, as it is fine-tuned.

It encodes all patches of all inputs, without masks and decoders. Written after descriptions of the model, of ConvNeXt
(Liu et al., 2022), Segmenter (Strudel et al., 2021) and DPT (Ranftl et al., 2021), and after the dumps in ../parity/vit_*;
no code is taken from the published implementation. README.md lists the details that only the dumps show.

    model = MultiViT(load_config("folder"))
    preds = model({"rgb": x})                            # class logits [B, K], or maps [B, C, H, W]
    losses = model.losses(preds, {"semseg": ids}, {})

The keys of the state dict are those of published checkpoints. Letters in shapes are those of multimae.py; E is the width
of a head, C the number of its classes or channels, m the number of its main tasks.
"""
from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F

from multimae import InputAdapter, blocks, grid_of, init_weights

HEADS = ("linear", "convnext", "segmenter", "dpt")


def preset(config: dict, head: str) -> dict:
    """The configuration of a MultiViT with the inputs and encoder of a MultiMAE and one head of the paper's size."""
    dim, depth, heads = (config["encoder"][k] for k in ("dim", "depth", "heads"))
    main = list(config["inputs"])[:1]
    name, output = {
        "linear": ("cls", dict(num_classes=1000, mean_pooling=True, loss="cross_entropy")),
        "convnext": ("semseg", dict(num_classes=40, embed_dim=8 * dim, preds_per_patch=16, depth=4, main_tasks=main, loss="cross_entropy")),
        "segmenter": ("semseg", dict(num_classes=40, embed_dim=dim, depth=2, heads=heads, main_tasks=main, loss="cross_entropy")),
        "dpt": ("depth", dict(num_classes=1, hooks=[depth // 4 * (i + 1) - 1 for i in range(4)], feature_dim=max(16, dim // 3),
                              layer_dims=[dim // 8, dim // 4, dim // 2, dim], head_type="regression", main_tasks=main, loss="l1")),
    }[head]
    keys = ("encoder", "image_size", "patch_size", "num_global_tokens", "inputs")
    return {"model": "multivit", **{k: config[k] for k in keys}, "outputs": {name: {"head": head, **output}}}


# ---------------------------------------------------------------------------------------------------------------
# Heads. Each takes the outputs of all encoder blocks, a list of [B, M·n+G, D], and the positions of each modality.


class Linear(nn.Module):
    """Class logits [B, C] from the mean of all tokens, including global ones, or from the last token."""

    def __init__(self, config: dict, name: str):
        super().__init__()
        entry, encoder = config["outputs"][name], config["encoder"]
        self.mean_pooling = entry["mean_pooling"]
        self.norm = nn.LayerNorm(encoder["dim"], eps=encoder["layer_norm_eps"])
        self.head = nn.Linear(encoder["dim"], entry["num_classes"])

    def forward(self, layers: list, places: dict, grid, size):
        x = layers[-1]
        return self.head(self.norm(x.mean(1) if self.mean_pooling else x[:, -1]))


def main_tokens(x, places: dict, tasks: list):
    """The patch tokens of some modalities, concatenated along features: [B, M·n+G, D] → [B, n, m·D]."""
    return torch.cat([x[:, places[t]] for t in tasks], dim=-1)


def as_map(x, grid):
    """[B, n, C] → [B, C, nh, nw]."""
    return x.transpose(1, 2).reshape(x.shape[0], -1, *grid)


class ConvNeXtBlock(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.pwconv2 = nn.Linear(4 * dim, dim)

    def forward(self, x):
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        return x + self.pwconv2(F.gelu(self.pwconv1(y))).permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """A map [B, C, H, W]. Each token becomes a square of preds_per_patch pixels, which ConvNeXt blocks refine."""

    def __init__(self, config: dict, name: str):
        super().__init__()
        entry = config["outputs"][name]
        self.tasks, self.side = entry["main_tasks"], round(entry["preds_per_patch"] ** 0.5)
        if self.side ** 2 != entry["preds_per_patch"]:
            raise ValueError("outputs.%s.preds_per_patch: got %d, want a square number" % (name, entry["preds_per_patch"]))
        dim = entry["embed_dim"] // self.side ** 2
        self.proj_dec = nn.Linear(len(self.tasks) * config["encoder"]["dim"], entry["embed_dim"])
        self.blocks = nn.Sequential(*[ConvNeXtBlock(dim) for _ in range(entry["depth"])])
        self.final_layer = nn.Conv2d(dim, entry["num_classes"], kernel_size=1)

    def forward(self, layers: list, places: dict, grid, size):
        (nh, nw), s = grid, self.side
        x = self.proj_dec(main_tokens(layers[-1], places, self.tasks))
        x = x.view(x.shape[0], nh, nw, s, s, -1)  # features in the order (row, column, channel)
        x = x.permute(0, 5, 1, 3, 2, 4).reshape(x.shape[0], -1, nh * s, nw * s)
        x = self.final_layer(self.blocks(x))
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class Segmenter(nn.Module):
    """A class map [B, C, H, W]: the similarity of each patch to the embedding of each class, after some blocks."""

    def __init__(self, config: dict, name: str):
        super().__init__()
        entry, encoder = config["outputs"][name], config["encoder"]
        dim, eps = entry["embed_dim"], encoder["layer_norm_eps"]
        self.tasks = entry["main_tasks"]
        self.cls_emb = nn.Parameter(torch.zeros(1, entry["num_classes"], dim))
        self.proj_dec = nn.Linear(len(self.tasks) * encoder["dim"], dim)
        self.blocks = blocks(encoder, dim, entry["depth"], entry["heads"])
        self.decoder_norm = nn.LayerNorm(dim, eps=eps)
        self.patch_proj = nn.Linear(dim, dim, bias=False)
        self.classes_proj = nn.Linear(dim, dim, bias=False)
        self.mask_norm = nn.LayerNorm(entry["num_classes"], eps=eps)

    def forward(self, layers: list, places: dict, grid, size):
        x = self.proj_dec(main_tokens(layers[-1], places, self.tasks))
        n = x.shape[1]
        x = torch.cat([x, self.cls_emb.expand(x.shape[0], -1, -1).to(x.dtype)], dim=1)  # patches first, then classes
        for block in self.blocks:
            x = block(x)
        x = self.decoder_norm(x)
        patches = F.normalize(self.patch_proj(x[:, :n]), dim=-1)
        classes = F.normalize(self.classes_proj(x[:, n:]), dim=-1)
        x = self.mask_norm(patches @ classes.transpose(1, 2))  # [B, n, C], over C
        return F.interpolate(as_map(x, grid), size=size, mode="bilinear", align_corners=False)


class Upsample(nn.Module):
    """Doubles the size by bilinear interpolation with aligned corners."""

    def forward(self, x):
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class ResidualConvUnit(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(dim, dim, kernel_size=3, padding=1)

    def forward(self, x):
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Fusion(nn.Module):
    """Adds a layer to the result of the coarser ones, if there is one, and doubles the size."""

    def __init__(self, dim: int):
        super().__init__()
        self.resConfUnit1 = ResidualConvUnit(dim)
        self.resConfUnit2 = ResidualConvUnit(dim)
        self.out_conv = nn.Conv2d(dim, dim, kernel_size=1)
        self.upsample = Upsample()

    def forward(self, layer, coarser=None):
        x = layer if coarser is None else coarser + self.resConfUnit1(layer)  # the coarsest layer does not use its first unit
        return self.out_conv(self.upsample(self.resConfUnit2(x)))


class DPT(nn.Module):
    """A map [B, C, 16·nh, 16·nw] from four layers of the encoder, resized to 4, 2, 1 and ½ times its grid."""

    def __init__(self, config: dict, name: str):
        super().__init__()
        entry = config["outputs"][name]
        if config["patch_size"] != 16:
            raise ValueError("patch_size: got %d, want 16 for the dpt head of outputs.%s" % (config["patch_size"], name))
        self.tasks, self.hooks = entry["main_tasks"], entry["hooks"]
        width, dim, dims = len(self.tasks) * config["encoder"]["dim"], entry["feature_dim"], entry["layer_dims"]
        resize = (
            [nn.ConvTranspose2d(dims[0], dims[0], kernel_size=4, stride=4)], [nn.ConvTranspose2d(dims[1], dims[1], kernel_size=2, stride=2)],
            [], [nn.Conv2d(dims[3], dims[3], kernel_size=3, stride=2, padding=1)],
        )
        # act_postprocess and layer_rn are second names of the modules before them: checkpoints have both.
        steps = [nn.Sequential(nn.Conv2d(width, d, kernel_size=1), *more) for d, more in zip(dims, resize)]
        for i, step in enumerate(steps, 1):
            self.add_module("act_%d_postprocess" % i, step)
        self.act_postprocess = nn.ModuleList(steps)
        self.scratch = nn.Module()
        layers = [nn.Conv2d(d, dim, kernel_size=3, padding=1, bias=False) for d in dims]
        for i, layer in enumerate(layers, 1):
            self.scratch.add_module("layer%d_rn" % i, layer)
        self.scratch.layer_rn = nn.ModuleList(layers)
        for i in range(1, 5):
            self.scratch.add_module("refinenet%d" % i, Fusion(dim))
        if entry["head_type"] == "regression":
            self.head = nn.Sequential(
                nn.Conv2d(dim, dim // 2, kernel_size=3, padding=1), Upsample(),
                nn.Conv2d(dim // 2, 32, kernel_size=3, padding=1), nn.ReLU(), nn.Conv2d(32, entry["num_classes"], kernel_size=1),
            )
        else:  # "semseg"
            self.head = nn.Sequential(
                nn.Conv2d(dim, dim, kernel_size=3, padding=1, bias=False), nn.Identity(), nn.ReLU(), nn.Dropout(0.1),
                nn.Conv2d(dim, entry["num_classes"], kernel_size=1), Upsample(),
            )

    def forward(self, layers: list, places: dict, grid, size):
        if grid[0] % 2 or grid[1] % 2:
            raise ValueError("a dpt head needs an even number of patches in each direction; got %d×%d" % tuple(grid))
        finer = []
        for i, act, layer_rn in zip(self.hooks, self.act_postprocess, self.scratch.layer_rn):
            finer.append(layer_rn(act(as_map(main_tokens(layers[i], places, self.tasks), grid))))
        s = self.scratch
        x = s.refinenet4(finer[3])
        x = s.refinenet3(finer[2], x)
        x = s.refinenet2(finer[1], x)
        x = s.refinenet1(finer[0], x)
        return self.head(x)


# ---------------------------------------------------------------------------------------------------------------
# The model


class MultiViT(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        encoder = config["encoder"]
        heads = {"linear": Linear, "convnext": ConvNeXt, "segmenter": Segmenter, "dpt": DPT}
        if config["num_global_tokens"]:
            self.global_tokens = nn.Parameter(torch.zeros(1, config["num_global_tokens"], encoder["dim"]))
        self.input_adapters = nn.ModuleDict({name: InputAdapter(config, name) for name in config["inputs"]})
        self.output_adapters = nn.ModuleDict({name: heads[o["head"]](config, name) for name, o in config["outputs"].items()})
        self.encoder = blocks(encoder, encoder["dim"], encoder["depth"], encoder["heads"], encoder.get("drop_path", 0.0))
        init_weights(self)

    def encode(self, inputs: dict) -> list:
        """The outputs of all blocks, each [B, M·n+G, D]: the patches of each modality in row-major order, then the global
        tokens."""
        grid = grid_of(self.config, inputs)
        n, tokens = grid[0] * grid[1], []
        for name, adapter in self.input_adapters.items():
            if name in inputs:
                b = len(inputs[name])
                at = torch.arange(b * n, device=inputs[name].device)
                tokens.append(adapter(inputs[name], grid, at // n, at % n).view(b, n, -1))
        if self.config["num_global_tokens"]:
            tokens.append(self.global_tokens.expand(len(tokens[0]), -1, -1).to(tokens[0].dtype))
        x, layers = torch.cat(tokens, dim=1), []
        for block in self.encoder:  # no norm after the last block
            x = block(x)
            layers.append(x)
        return layers

    def decode(self, layers: list, inputs: dict) -> dict:
        """The prediction of each head from encode's layers: [B, C] for linear heads, [B, C, H, W] for others."""
        grid, p = grid_of(self.config, inputs), self.config["patch_size"]
        n, size = grid[0] * grid[1], (grid[0] * p, grid[1] * p)
        present = [m for m in self.config["inputs"] if m in inputs]
        places = {m: slice(i * n, (i + 1) * n) for i, m in enumerate(present)}
        return {name: head(layers, places, grid, size) for name, head in self.output_adapters.items()}

    def forward(self, inputs: dict) -> dict:
        return self.decode(self.encode(inputs), inputs)

    def losses(self, preds: dict, targets: dict, valid: dict) -> dict:
        """The loss of each output that has a target. A target is class ids [B] or [B, H, W], or pixels like the
        prediction, of which those with a nonzero valid [B, 1, H, W] count, or all if there is none."""
        losses = {}
        for name, pred in preds.items():
            if name not in targets:
                continue
            target, kind = targets[name], self.config["outputs"][name]["loss"]
            if kind == "cross_entropy":
                counts = target < pred.shape[1]  # 254 and 255 are pixels to ignore
                loss = F.cross_entropy(pred, target.masked_fill(~counts, -100), ignore_index=-100, reduction="none")
            else:
                counts = torch.ones_like(pred, dtype=torch.bool)
                if name in valid:
                    counts = (valid[name] != 0).expand_as(pred)
                loss = (pred - target.masked_fill(~counts, 0)).abs()
                if kind == "berhu" and counts.any():
                    c = (0.2 * loss[counts].max()).clamp(min=1e-5).detach()
                    loss = torch.where(loss <= c, loss, (loss ** 2 + c ** 2) / (2 * c))
            losses[name] = (loss * counts).sum() / counts.sum().clamp(min=1)  # over the whole batch
        return losses
