"""Read and write safetensors files. The format is so simple that it needs no package:
https://huggingface.co/docs/safetensors
"""
from __future__ import annotations

import json
import os
import struct

import torch

_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}


def load(path: str) -> dict:
    """All tensors of a file, in its order."""
    with open(path, "rb") as f:
        data = bytearray(f.read())
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + length].decode("utf-8"))
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        dtype = _DTYPES[entry["dtype"]]
        x = torch.empty(0, dtype=dtype)
        if end > begin:
            x = torch.frombuffer(data, dtype=torch.uint8, offset=8 + length + begin, count=end - begin).clone().view(dtype)
        tensors[name] = x.reshape(entry["shape"])
    return tensors


def save(path: str, tensors: dict):
    """Write tensors, {name: tensor}, in their order."""
    names = {dtype: name for name, dtype in _DTYPES.items()}
    header, offset = {}, 0
    for name, x in tensors.items():
        size = x.numel() * x.element_size()
        header[name] = {"dtype": names[x.dtype], "shape": list(x.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    with open(path + ".tmp", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for x in tensors.values():
            data = bytearray(x.numel() * x.element_size())
            if data:
                torch.frombuffer(data, dtype=x.dtype).copy_(x.detach().cpu().flatten())
            f.write(data)
    os.replace(path + ".tmp", path)
