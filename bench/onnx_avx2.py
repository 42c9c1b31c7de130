"""A copy of ONNX Runtime that computes with AVX2 at most.

ONNX Runtime has no setting for it. It takes AVX-512 if the CPU has it and if XGETBV says that the system saves its
registers. In the copy, XGETBV is replaced by two instructions of the same length which say that the system saves those of
AVX alone.
"""
import atexit
import importlib.util
import os
import shutil
import sys
import tempfile

# XOR ECX, ECX; XGETBV. Without the first, which chooses the register, the bytes of the second occur in other code too.
XGETBV = b"\x31\xc9\x0f\x01\xd0"
# XOR ECX, ECX; PUSH 7; POP RAX, where 7 is the state of x87, SSE and AVX.
AVX_STATE = b"\x31\xc9\x6a\x07\x58"


def find():
    """Let the next import of onnxruntime find such a copy, which is removed at exit."""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as f:
            if "avx512f" not in f.read():
                return  # nothing to hide
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None:
        return  # the import says so
    folder = tempfile.mkdtemp(prefix="gomae-onnxruntime-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copied = shutil.copytree(os.path.dirname(spec.origin), os.path.join(folder, "onnxruntime"))
    places = 0
    for path, _, names in os.walk(copied):
        for name in names:
            if ".so" not in name and not name.endswith((".pyd", ".dll")):
                continue
            name = os.path.join(path, name)
            with open(name, "rb") as f:
                code = f.read()
            if XGETBV in code:
                places += code.count(XGETBV)
                with open(name, "wb") as f:
                    f.write(code.replace(XGETBV, AVX_STATE))
    if places == 0:
        sys.exit("ONNX Runtime could not be kept to AVX2: no library in %s asks for its state by XOR ECX, ECX; XGETBV" % (
            os.path.dirname(spec.origin)))
    sys.path.insert(0, folder)
