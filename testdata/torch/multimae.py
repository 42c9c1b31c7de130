"""MultiMAE in plain PyTorch: the reference for package multimae.

Bachmann, Mizrahi, Atanov, Zamir, "MultiMAE: Multi-modal Multi-task Masked Autoencoders" (2022). Written after the paper
and after what published checkpoints compute; no code is taken from the published implementation.

    model = MultiMAE(preset("base"))                                # or MultiMAE.load("folder")
    masks = draw_masks(["rgb", "depth"], (14, 14), batch=2, tokens=98)
    preds = model({"rgb": x, "depth": y}, masks)                    # the patches of each output
    losses = model.losses(preds, {"rgb": x, "depth": y}, masks)

A configuration is a dict with the schema of multimae/config.go. The keys of the state dict are those of the published
checkpoints. Needs torch 1.13 or newer and nothing else.

Letters in shapes: B batch, T visible tokens, G global tokens, D encoder width, d decoder width, n = nh·nw patches
of one modality, p side of a patch on the modality's own grid, M present input modalities.
"""
from __future__ import annotations

import json
import math
import os

import torch
import torch.nn as nn
import torch.nn.functional as F

import tensorfile

# Whether attention is one call of torch.nn.functional.scaled_dot_product_attention (torch 2 and newer) or spelled out.
# Dumps spell it out, so that they are the same in every version; benchmarks use the faster one.
FUSED_ATTENTION = False


# ---------------------------------------------------------------------------------------------------------------
# Configurations


def load_config(path: str) -> dict:
    """Read a config.json, or the one in a model folder."""
    if os.path.isdir(path):
        path = os.path.join(path, "config.json")
    with open(path, encoding="utf-8") as f:
        config = json.load(f)
    if config.get("model") not in ("multimae", "multivit"):
        raise ValueError("%s: model: got %r, want \"multimae\" or \"multivit\"" % (path, config.get("model")))
    return config


def preset(name: str, classes: int = 133) -> dict:
    """The configuration of a preset of package multimae, without its training recipe."""
    sizes = {"tiny": (128, 4, 4), "small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}
    if name not in sizes:
        raise ValueError("unknown preset %r; the presets are %s" % (name, ", ".join(sizes)))
    dim, depth, heads = sizes[name]
    tiny = name == "tiny"
    stride = 2 if tiny else 4
    decoder = {"dim": 64, "depth": 1, "heads": 2} if tiny else {"dim": 256, "depth": 2, "heads": 8}
    decoder["use_task_queries"] = True
    return {
        "model": "multimae",
        "encoder": {"dim": dim, "depth": depth, "heads": heads, "mlp_ratio": 4, "qkv_bias": True, "layer_norm_eps": 1e-6},
        "image_size": 64 if tiny else 224,
        "patch_size": 8 if tiny else 16,
        "num_global_tokens": 1,
        "inputs": {
            "rgb": {"kind": "image", "channels": 3, "stride": 1},
            "depth": {"kind": "image", "channels": 1, "stride": 1},
            "semseg": {"kind": "classes", "num_classes": classes, "stride": stride, "class_emb_dim": 32 if tiny else 64},
        },
        "outputs": {
            "rgb": dict(channels=3, stride=1, task="rgb", loss="mse", **decoder),
            "depth": dict(channels=1, stride=1, task="depth", loss="l1", **decoder),
            "semseg": dict(channels=classes, stride=stride, task="semseg", loss="cross_entropy", **decoder),
            "norm_rgb": dict(channels=3, stride=1, task="rgb", loss="norm_mse", **decoder),
        },
    }


def preset_tokens(config: dict) -> int:
    """A sixth of all patches, as in the paper: 98 of 588."""
    n = (config["image_size"] // config["patch_size"]) ** 2
    return max(1, len(config["inputs"]) * n // 6)


# ---------------------------------------------------------------------------------------------------------------
# Masks


class Masks:
    """The patches of a batch that the encoder sees. Patch i of modality m is token m·n + i.

    names        the input modalities that are present, in the configuration's order
    grid         (nh, nw)
    ids_keep     [B, T] the visible tokens, in the encoder's order
    ids_restore  [B, M·n] the position of each token in the shuffled order, which has the visible ones first
    visible      for each name two vectors (sample, patch): its visible patches in all samples together
    order        [B·T] the encoder's order of the patches in `visible`, one modality after the other
    """

    def __init__(self, names, grid, ids_keep, ids_restore, visible=None, order=None):
        self.names, self.grid = tuple(names), tuple(grid)
        self.ids_keep, self.ids_restore = ids_keep, ids_restore
        if visible is None:
            n, (_, tokens) = self.patches, ids_keep.shape
            flat = ids_keep.flatten()
            rows = [(flat // n == m).nonzero().flatten() for m in range(len(self.names))]
            visible = {name: (r // tokens, flat[r] % n) for name, r in zip(self.names, rows)}
            order = torch.argsort(torch.cat(rows))
        self.visible, self.order = visible, order

    @property
    def patches(self) -> int:
        return self.grid[0] * self.grid[1]

    def place(self, name: str) -> slice:
        """The positions of one modality's tokens among all M·n."""
        m = self.names.index(name)
        return slice(m * self.patches, (m + 1) * self.patches)

    def hidden(self, name: str) -> torch.Tensor:
        """[B, n], true for the masked patches of this modality."""
        return self.ids_restore[:, self.place(name)] >= self.ids_keep.shape[1]

    def to(self, device) -> Masks:
        visible = {name: (s.to(device), p.to(device)) for name, (s, p) in self.visible.items()}
        return Masks(self.names, self.grid, self.ids_keep.to(device), self.ids_restore.to(device), visible, self.order.to(device))


def draw_masks(names, grid, batch: int, tokens: int, alpha: float = 1.0) -> Masks:
    """Draw masks as in the paper (section 3.2) from torch's global generator.

    The shares of the modalities are Dirichlet distributed and the patches of each modality are chosen uniformly. Then
    tokens are added or removed at random until there are exactly `tokens` of them.
    """
    n = grid[0] * grid[1]
    total = len(names) * n
    if not 1 <= tokens <= total:
        raise ValueError("tokens: got %d, want 1..%d" % (tokens, total))
    keep = []
    for _ in range(batch):
        shares = torch.distributions.Dirichlet(torch.full((len(names),), float(alpha), dtype=torch.float64)).sample()
        counts = (shares * tokens).round().long().clamp(max=n).tolist()  # rounds half to even
        chosen = torch.cat([m * n + torch.randperm(n)[:k] for m, k in enumerate(counts)])
        chosen = chosen[torch.randperm(len(chosen))[:tokens]]
        rest = torch.ones(total, dtype=torch.bool)
        rest[chosen] = False
        rest = rest.nonzero().flatten()
        chosen = torch.cat([chosen, rest[torch.randperm(len(rest))[: tokens - len(chosen)]]])
        keep.append(chosen[torch.randperm(tokens)])
    return keep_masks(names, grid, torch.stack(keep))


def keep_masks(names, grid, ids_keep: torch.Tensor) -> Masks:
    """The masks under which the tokens of ids_keep [B, T] are visible."""
    hidden = torch.ones(ids_keep.shape[0], len(names) * grid[0] * grid[1], dtype=torch.bool)
    hidden.scatter_(1, ids_keep, False)
    rest = hidden.nonzero()[:, 1].reshape(len(ids_keep), -1)
    rest = torch.stack([row[torch.randperm(len(row))] for row in rest])
    return Masks(names, grid, ids_keep, torch.argsort(torch.cat([ids_keep, rest], dim=1), dim=1))


# ---------------------------------------------------------------------------------------------------------------
# Transformer


def attention(q, k, v):
    """Softmax attention: q [B, heads, Nq, c], k and v [B, heads, Nk, c] → [B, heads, Nq, c]."""
    if FUSED_ATTENTION:
        return F.scaled_dot_product_attention(q, k, v)
    return ((q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5).softmax(dim=-1) @ v


def split_heads(x, parts: int, heads: int):
    """[B, N, parts·dim] → parts tensors [B, heads, N, dim/heads]."""
    b, n, _ = x.shape
    return x.reshape(b, n, parts, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


def join_heads(x):
    """[B, heads, N, c] → [B, N, heads·c]."""
    return x.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    def __init__(self, dim: int, heads: int, bias: bool):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        q, k, v = split_heads(self.qkv(x), 3, self.heads)
        return self.proj(join_heads(attention(q, k, v)))


class CrossAttention(nn.Module):
    def __init__(self, dim: int, heads: int, bias: bool):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim, bias=bias)
        self.kv = nn.Linear(dim, 2 * dim, bias=bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x, context):
        (q,) = split_heads(self.q(x), 1, self.heads)
        k, v = split_heads(self.kv(context), 2, self.heads)
        return self.proj(join_heads(attention(q, k, v)))


class MLP(nn.Module):
    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))  # the exact GELU, by erf


class Block(nn.Module):
    """x + Attn(LN(x)), then x + MLP(LN(x)). In training, each branch is dropped for a sample with rate drop_path."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int, bias: bool, eps: float, drop_path: float = 0.0):
        super().__init__()
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = SelfAttention(dim, heads, bias)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = MLP(dim, mlp_ratio * dim)

    def drop(self, x):
        if not self.training or self.drop_path == 0:
            return x
        keep = torch.rand(x.shape[0], 1, 1, device=x.device, dtype=x.dtype) >= self.drop_path
        return x * keep / (1 - self.drop_path)

    def forward(self, x):
        x = x + self.drop(self.attn(self.norm1(x)))
        return x + self.drop(self.mlp(self.norm2(x)))


def blocks(encoder: dict, dim: int, depth: int, heads: int, drop_path: float = 0.0) -> nn.ModuleList:
    """Blocks of any width that are otherwise like the encoder's. The rate of drop path grows linearly from 0."""
    return nn.ModuleList(
        Block(dim, heads, encoder["mlp_ratio"], encoder["qkv_bias"], encoder["layer_norm_eps"], drop_path * i / max(1, depth - 1))
        for i in range(depth)
    )


# ---------------------------------------------------------------------------------------------------------------
# Patches and positions


def patchify(x, p: int):
    """[B, C, H, W] → [B, nh, nw, C, p, p], as a view if x allows it."""
    b, c, h, w = x.shape
    return x.reshape(b, c, h // p, p, w // p, p).permute(0, 2, 4, 1, 3, 5)


def unpatchify(x, grid, p: int):
    """[B, n, C·p·p] with features in the order (channel, row, column) → [B, C, nh·p, nw·p]."""
    nh, nw = grid
    x = x.reshape(x.shape[0], nh, nw, -1, p, p).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(x.shape[0], x.shape[1], nh * p, nw * p)


def sincos(dim: int, nh: int, nw: int):
    """The fixed 2-D sine–cosine table [1, dim, nh, nw] with channels [sin(u·ω), cos(u·ω), sin(v·ω), cos(v·ω)] for row u
    and column v. (The published code orders the indices so that this holds for square grids only.)"""
    omega = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    u = (torch.arange(nh, dtype=torch.float64) * omega[:, None])[:, :, None].expand(-1, nh, nw)
    v = (torch.arange(nw, dtype=torch.float64) * omega[:, None])[:, None, :].expand(-1, nh, nw)
    return torch.cat([u.sin(), u.cos(), v.sin(), v.cos()])[None].float()


def positions(table, grid, mode: str):
    """A stored table [1, dim, nh, nw] in token order [n, dim], resized if the grid differs."""
    if tuple(table.shape[2:]) != tuple(grid):
        table = F.interpolate(table, size=tuple(grid), mode=mode, align_corners=False)
    return table[0].flatten(1).t()


# ---------------------------------------------------------------------------------------------------------------
# The two ends


class InputAdapter(nn.Module):
    """Projects the visible patches of one modality to tokens. There is no embedding of the modality: only the bias of the
    projection distinguishes it."""

    def __init__(self, config: dict, name: str):
        super().__init__()
        entry, dim = config["inputs"][name], config["encoder"]["dim"]
        self.patch = config["patch_size"] // entry["stride"]
        self.classes = entry.get("num_classes", 0) if entry["kind"] == "classes" else 0
        side = config["image_size"] // config["patch_size"]
        self.pos_emb = nn.Parameter(sincos(dim, side, side), requires_grad=False)
        if self.classes:
            self.class_emb = nn.Embedding(self.classes, entry["class_emb_dim"])
        channels = entry["class_emb_dim"] if self.classes else entry["channels"]
        self.proj = nn.Conv2d(channels, dim, kernel_size=self.patch, stride=self.patch)

    def forward(self, x, grid, sample, patch):
        """x [B, C, H, W], or class ids [B, H, W], of which patch[i] of sample[i] is visible → tokens [R, D]."""
        row, col = patch // grid[1], patch % grid[1]
        if self.classes:
            ids = patchify(x[:, None], self.patch)[sample, row, col, 0]  # [R, p, p]
            known = ids < self.classes  # 254 and 255 are pixels to ignore
            x = self.class_emb(ids.clamp(max=self.classes - 1)) * known[..., None]
            x = x.permute(0, 3, 1, 2)
        else:
            x = patchify(x, self.patch)[sample, row, col]
        # With kernel = stride = patch, the convolution of a patch is one linear layer.
        x = F.linear(x.flatten(1), self.proj.weight.flatten(1), self.proj.bias)
        return x + positions(self.pos_emb, grid, "bilinear" if self.classes else "bicubic").index_select(0, patch)


class Decoder(nn.Module):
    """Reconstructs one output from the encoder's tokens (section 3.3 of the paper)."""

    def __init__(self, config: dict, name: str):
        super().__init__()
        entry, encoder = config["outputs"][name], config["encoder"]
        dim, eps, bias = entry["dim"], encoder["layer_norm_eps"], encoder["qkv_bias"]
        self.task, self.use_task_queries = entry["task"], entry["use_task_queries"]
        self.patch = config["patch_size"] // entry["stride"]
        side = config["image_size"] // config["patch_size"]
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_emb = nn.Parameter(sincos(dim, side, side), requires_grad=False)
        self.task_embeddings = nn.ParameterDict({m: nn.Parameter(torch.zeros(1, 1, dim)) for m in sorted(config["inputs"])})
        self.decoder = CrossAttention(dim, entry["heads"], bias)
        self.context_norm = nn.LayerNorm(dim, eps=eps)
        self.query_norm = nn.LayerNorm(dim, eps=eps)
        self.out_norm = nn.LayerNorm(dim, eps=eps)
        self.mlp = MLP(dim, encoder["mlp_ratio"] * dim)
        self.decoder_transformer = blocks(encoder, dim, entry["depth"], entry["heads"])
        self.out_proj = nn.Linear(dim, entry["channels"] * self.patch ** 2)
        self.proj_context = nn.Linear(encoder["dim"], dim)

    def forward(self, tokens, masks: Masks):
        """tokens [B, T+G, D] → patches [B, n, C·p·p] with features in the order (channel, row, column)."""
        (b, visible), dim = masks.ids_keep.shape, self.mask_token.shape[2]
        pos = positions(self.pos_emb, masks.grid, "bilinear")  # [n, d]
        tokens = self.proj_context(tokens)
        patches, others = tokens[:, :visible], tokens[:, visible:]

        # Context: the visible patches with embeddings of position and modality, and the global tokens without.
        where = torch.cat([pos + self.task_embeddings[m][0] for m in masks.names])  # [M·n, d]
        context = patches + where.index_select(0, masks.ids_keep.flatten()).view(b, visible, dim)
        context = torch.cat([context, others.to(context.dtype)], dim=1)

        # Queries: one for each patch of the output. That of a visible patch is its token.
        queries = self.mask_token
        if self.use_task_queries and self.task in masks.names:
            rows = torch.cat([patches, self.mask_token.expand(b, 1, dim).to(patches.dtype)], dim=1).flatten(0, 1)  # [B·(T+1), d]
            at = masks.ids_restore[:, masks.place(self.task)].clamp(max=visible)
            at = at + torch.arange(b, device=at.device)[:, None] * (visible + 1)
            queries = rows.index_select(0, at.flatten()).view(b, masks.patches, dim)
        queries = (queries + pos + self.task_embeddings[self.task]).expand(b, -1, -1)

        x = self.decoder(self.query_norm(queries), self.context_norm(context))  # no residual connection
        x = x + self.mlp(self.out_norm(x))
        for block in self.decoder_transformer:
            x = block(x)
        return self.out_proj(x)


# ---------------------------------------------------------------------------------------------------------------
# The model


@torch.no_grad()
def init_weights(model: nn.Module):
    """Draw new weights from torch's global generator. Position tables stay as they are."""
    for name, x in model.named_parameters():
        if name.endswith("pos_emb"):
            continue
        if "embeddings." in name or name.endswith(("global_tokens", "class_emb.weight", "cls_emb")):
            nn.init.trunc_normal_(x, std=0.02)
        elif name.startswith("input_adapters."):
            rows, fan_in = model.get_submodule(name.rpartition(".")[0]).weight.flatten(1).shape
            bound = math.sqrt(6 / (rows + fan_in)) if name.endswith("weight") else 1 / math.sqrt(fan_in)
            nn.init.uniform_(x, -bound, bound)
        elif x.dim() == 4:  # convolutions of heads, as PyTorch initialises them
            bound = 1 / math.sqrt(x[0].numel())
            nn.init.uniform_(x, -bound, bound)
        elif x.dim() == 2:  # each part of a fused projection as a matrix of its own
            parts = 3 if ".qkv." in name else 2 if ".kv." in name else 1
            bound = math.sqrt(6 / (x.shape[0] / parts + x.shape[1]))
            nn.init.uniform_(x, -bound, bound)
        elif "norm" in name.split(".")[-2] and name.endswith("weight"):
            nn.init.ones_(x)
        else:
            nn.init.zeros_(x)


def grid_of(config: dict, inputs: dict):
    """The number of patches (nh, nw) of a batch of inputs."""
    name, x = next(iter(inputs.items()))
    return tuple(side * config["inputs"][name]["stride"] // config["patch_size"] for side in x.shape[-2:])


class MultiMAE(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        encoder = config["encoder"]
        if config["num_global_tokens"]:
            self.global_tokens = nn.Parameter(torch.zeros(1, config["num_global_tokens"], encoder["dim"]))
        self.input_adapters = nn.ModuleDict({name: InputAdapter(config, name) for name in config["inputs"]})
        self.output_adapters = nn.ModuleDict({name: Decoder(config, name) for name in config["outputs"]})
        self.encoder = blocks(encoder, encoder["dim"], encoder["depth"], encoder["heads"], encoder.get("drop_path", 0.0))
        init_weights(self)

    @staticmethod
    def load(folder: str) -> MultiMAE:
        """The model in a folder with config.json and model.safetensors."""
        model = MultiMAE(load_config(folder))
        model.load_state_dict(tensorfile.load(os.path.join(folder, "model.safetensors")))
        return model

    def encode(self, inputs: dict, masks: Masks):
        """The encoder's tokens [B, T+G, D], global tokens last. Inputs are [B, C, H/s, W/s], or class ids [B, H/s, W/s].
        Only visible patches are projected."""
        tokens = [self.input_adapters[m](inputs[m], masks.grid, *masks.visible[m]) for m in masks.names]
        x = torch.cat(tokens).index_select(0, masks.order)  # [B·T, D]
        x = x.view(masks.ids_keep.shape + x.shape[1:])
        if self.config["num_global_tokens"]:
            x = torch.cat([x, self.global_tokens.expand(x.shape[0], -1, -1).to(x.dtype)], dim=1)
        for block in self.encoder:  # no norm after the last block
            x = block(x)
        return x

    def decode(self, tokens, masks: Masks) -> dict:
        """The prediction of each output, in patches [B, n, C·p·p]."""
        return {name: decoder(tokens, masks) for name, decoder in self.output_adapters.items()}

    def forward(self, inputs: dict, masks: Masks) -> dict:
        return self.decode(self.encode(inputs, masks), masks)

    def images(self, preds: dict, masks: Masks) -> dict:
        """Predictions as images [B, C, H/s, W/s]."""
        return {name: unpatchify(x, masks.grid, self.output_adapters[name].patch) for name, x in preds.items()}

    def losses(self, preds: dict, targets: dict, masks: Masks) -> dict:
        """The loss of each output whose task is among the targets, {task: values as of an input}.

        Masked patches count. All patches count if the task is not an input or the output has loss_on_unmasked. The loss
        is the mean over what counts in a sample, and then over the samples in which anything counts.
        """
        losses = {}
        for name, pred in preds.items():
            entry, p = self.config["outputs"][name], self.output_adapters[name].patch
            if entry["task"] not in targets:
                continue
            target = targets[entry["task"]]
            counts = torch.ones(pred.shape[:2], dtype=torch.bool, device=pred.device)
            if entry["task"] in masks.names and not entry.get("loss_on_unmasked", False):
                counts = masks.hidden(entry["task"])
            if entry["loss"] == "cross_entropy":
                target = patchify(target[:, None], p).flatten(1, 2).flatten(2)  # [B, n, p·p]
                ignored = target >= entry["channels"]
                logits = pred.view(pred.shape[:2] + (entry["channels"], p * p))
                loss = F.cross_entropy(
                    logits.flatten(0, 1), target.masked_fill(ignored, -100).flatten(0, 1), ignore_index=-100, reduction="none",
                    label_smoothing=entry.get("label_smoothing", 0.0),
                ).view(target.shape)
                counts = counts[:, :, None] & ~ignored
            else:
                target = patchify(target, p).flatten(1, 2).flatten(2)  # [B, n, C·p·p]
                if entry["loss"] == "norm_mse":
                    target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, unbiased=True, keepdim=True) + 1e-6).sqrt()
                loss = (pred - target).abs() if entry["loss"] == "l1" else (pred - target) ** 2
                loss = loss.mean(-1)
            losses[name] = mean_of_samples(loss.flatten(1), counts.flatten(1))
        return losses


def mean_of_samples(loss, counts):
    """The mean of loss [B, K] over what counts in a sample, then over the samples in which anything counts. Other samples
    get no gradient. It is 0 if nothing counts."""
    number = counts.sum(1)
    means = (loss * counts).sum(1) / number.clamp(min=1)  # 0 where nothing counts
    return means.sum() / (number > 0).sum().clamp(min=1)
