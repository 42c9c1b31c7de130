"""Writes the checkpoints of this folder, with whatever PyTorch runs it: python make_pth.py

It made torch1.13*.pth with PyTorch 1.13 and torch2.13*.pth with 2.13, and with the latter expected.safetensors, which
holds the values of all of them: numbers widened as gomae does, views made contiguous.
"""
import argparse
import collections
import os
import pathlib

import numpy as np
import torch

here = pathlib.Path(__file__).parent
version = ".".join(torch.__version__.split(".")[:2])

base = torch.arange(60, dtype=torch.float32) / 7 - 4
matrix = base.clone().view(3, 4, 5)
state = collections.OrderedDict()
state["f32"] = torch.tensor([1.5, -0.0, float("inf"), 1e-45, 3.4e38])
state["f64"] = torch.tensor([[1 / 3, -1e300], [5e-324, 2.0]], dtype=torch.float64)
state["f16"] = torch.tensor([1.0, -65504, 6e-8, 0.1]).half()
state["bf16"] = torch.tensor([1.0, -3e38, 1e-40, 0.1]).bfloat16()
state["i64"] = torch.tensor([-(2**63), 2**63 - 1])
state["i32"] = torch.tensor([-(2**31), 7], dtype=torch.int32)
state["i16"] = torch.tensor([-(2**15), 7], dtype=torch.int16)
state["i8"] = torch.tensor([-128, 127], dtype=torch.int8)
state["u8"] = torch.tensor([[0], [255]], dtype=torch.uint8)
state["bool"] = torch.tensor([True, False, True])
state["bn.num_batches_tracked"] = torch.tensor(31)
state["empty"] = torch.zeros(0, 3)
state["parameter"] = torch.nn.Parameter(torch.tensor([2.5, -2.5]))
# Views of one storage.
state["whole"] = matrix
state["offset"] = matrix[1]
state["transposed"] = matrix.permute(2, 0, 1)
state["strided"] = matrix[::2, 1::2, ::3]
state["expanded"] = matrix[0, 0, :2].unsqueeze(0).expand(3, 2)
state["shared"] = matrix.view(-1)
state["one"] = matrix[:, 1:2, :1].transpose(0, 1)
state["half_view"] = state["f16"].view(2, 2).t()

module = torch.nn.Linear(2, 2)
optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4)
module(torch.ones(1, 2)).sum().backward()
optimizer.step()
state._metadata = collections.OrderedDict({"": {"version": 1}})
checkpoint = {
    "model": state,
    "optimizer": optimizer.state_dict(),
    "epoch": 1599,
    "args": argparse.Namespace(
        lr=1e-4, in_domains=["rgb", "depth"], output_dir=pathlib.PurePosixPath("/tmp/out"), decay=None, alphas=1.0, device=torch.device("cuda", 1),
        betas=(0.9, 0.95), big=2**80, nested=argparse.Namespace(a=1), dtype=torch.float16, standardize=True, text="it's\n"
    ),
    "scaler": {"scale": 65536.0, "_growth_tracker": 0},
    "loss": np.float64(0.25),
    "best": np.float32(-1.5),
    "count": np.int64(-3),
    "tags": {"a"},
    "size": torch.Size([2, 3]),
    "seed": b"\x00\xff",
}
torch.save(checkpoint, here / f"torch{version}.pth")
torch.save(checkpoint, here / f"torch{version}_legacy.pth", _use_new_zipfile_serialization=False)
torch.save(checkpoint, here / f"torch{version}_protocol5.pth", pickle_protocol=5)
wrapped = {"module." + k: v for k, v in state.items()}
torch.save({"state_dict": wrapped, "rng_state": torch.zeros(2, dtype=torch.uint8)}, here / f"torch{version}_parallel.pth")
torch.save(state, here / f"torch{version}_bare.pth")

if version == "2.13":
    from safetensors.torch import save_file

    wide = {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.int32: torch.int64, torch.int16: torch.int64, torch.int8: torch.int64,
            torch.bool: torch.uint8}
    save_file({k: v.detach().to(wide.get(v.dtype, v.dtype)).contiguous().clone() for k, v in state.items()}, here / "expected.safetensors")
    # Types that came later.
    torch.save({"u16": torch.tensor([1, 65535], dtype=torch.uint16), "u32": torch.tensor([2**32 - 1], dtype=torch.uint32)}, here / "torch2.13_unsigned.pth")

# What no one should open: names that would be called.
class Call:
    def __init__(self, f, *args):
        self.f, self.args = f, args

    def __reduce__(self):
        return self.f, self.args

if version == "2.13":
    torch.save({"model": {"w": base[:2].clone()}, "x": Call(os.system, "echo executed")}, here / "call_system.pth")
    torch.save({"model": {"w": base[:2].clone()}, "x": Call(eval, "print('executed')")}, here / "call_eval.pth", _use_new_zipfile_serialization=False)
