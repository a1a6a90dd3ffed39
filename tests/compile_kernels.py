"""Compile every Triton kernel for GPUs that need not be there; print what the compiler made.

    python tests/compile_kernels.py ARCH DTYPE        such as 90 bf16

One line of JSON a kernel: shared memory in bytes, matrix instructions, asynchronous 16-byte copies,
bytes spilled from registers. Run in a process of its own, where the interpreter is off.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from cagc_lib.ops.kernels import bias_act, convolve, convolve_up, to_rgb, upfirdn2d
from cagc_lib.ops.kernels.launch import up_tile
from cagc_lib.ops.kernels.tiles import by_rule

SINGLE = {
    "s", "d", "bias", "noise", "s_large", "s_small", "sums", "bias_sums", "noise_sums", "dots", "f",
    "rgb",
}
TAIL = {"GAIN": 1.4, "SLOPE": 0.2, "CLAMP": 256.0, "HAS_BIAS": True, "HAS_NOISE": True}
# channels lie side by side; everything that steps from pixel to pixel is a multiple of 16
PADDED = {
    "readable", "rows", "columns", "writable", "c_readable", "f_readable", "weight_t", "weight_i",
}
SIDE_BY_SIDE = {"x_c", "out_c", "other_c", "weight_o", "large_c", "small_c", "g_c", "y_c"}


def tiled(kernel: str, dtype: torch.dtype, sizes: tuple[int, int, int], names: str) -> dict:
    """The rule's tiles for a product, by the names of the kernel's three axes."""
    t = by_rule(kernel, dtype, *sizes)
    return dict(zip(names.split(), t, strict=False)) | {
        "num_warps": t.warps, "num_stages": t.stages,
    }


def constants(dtype: str) -> dict[str, dict]:
    """Compile-time arguments of each kernel."""
    name = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}[dtype]
    dot = {"ACC": tl.float32, "KIND": getattr(tl, name), "PRECISION": "ieee", "PADDED": True}
    dtype, layer = getattr(torch, name), (4096, 154, 154)
    square = {"SIDE": 3, "STRIDE": 1, "PAD": 1}
    both = TAIL | dot | square | tiled("convolve", dtype, layer, "BM BN BK") | {
        "BLOCKS": 5, "FLIP": False, "DEMODULATE": True, "WRITE": True,
    }
    up = tiled("convolve_up", dtype, layer, "BM BN BK")
    up["TH"], up["TW"] = up_tile(up.pop("BM"), 64, 64)
    return {
        "_convolve": both | {"REDUCE": False},
        "_convolve:reduce": both | {"REDUCE": True},
        "_convolve_up": TAIL | dot | up | {"BLOCKS": 5, "DEMODULATE": True},
        "_weight_gradient": dot | square | {"STEPS": 8}
        | tiled("weight_gradient", dtype, layer[::-1], "BC BF BP"),
        "_demodulate": {"TAPS": 9, "BLOCKS": 3, "ACC": tl.float32, "BN": 16, "BO": 64, "BI": 64},
        "_bias_act": TAIL | {"ACC": tl.float32, "BP": 64, "BC": 32},
        "_tail_gradient": TAIL | {
            "CLAMP": None, "DOTS": True, "ACC": tl.float32, "BLOCKS": 3, "BP": 64, "BC": 32,
        },
        "_upfirdn": {
            "GAIN": 4.0, "UP": 2, "DOWN": 1, "TAPS": 4, "TURNED": False, "ACC": tl.float32,
            "BP": 64, "BC": 32,
        },
        "_to_rgb": {
            "HAS_RGB": True, "BLOCKS": 5, "PADDED": True, "ACC": tl.float32, "BM": 128, "BK": 32,
        },
    }


def source(kernel: JITFunction, values: dict, dtype: str) -> ASTSource:
    """A kernel with its argument types: tensors of `dtype` but for the small ones, 32-bit sizes."""
    tensors = {"x", "weight", "other", "out", "large", "small", "g", "y"} | SINGLE
    signature, fixed, attributes = {}, {}, {}
    for place, name in enumerate(kernel.arg_names):
        if name in values or name in SIDE_BY_SIDE:
            signature[name], fixed[(place,)] = "constexpr", values.get(name, 1)
        elif name in tensors:
            signature[name] = "*fp32" if name in SINGLE else f"*{dtype}"
        else:
            signature[name] = "fp32" if name == "epsilon" else "i32"
        even = name in tensors | PADDED or name[-2:] in ("_n", "_h", "_w")
        if signature[name] != "constexpr" and even:
            attributes[(place,)] = [["tt.divisibility", 16]]
    return ASTSource(kernel, signature, fixed, attributes)


def spilled(assembler: str) -> int:
    """Bytes spilled from registers, as reported by the assembler that Triton brings."""
    target = re.search(r"\.target (\w+)", assembler)[1]
    with tempfile.TemporaryDirectory() as folder:
        text, made = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        text.write_text(assembler)
        call = triton.knobs.nvidia.ptxas.path, "-v", f"--gpu-name={target}", text, "-o", made
        done = subprocess.run(call, capture_output=True, text=True, check=True)
    return int(re.search(r"(\d+) bytes spill stores", done.stderr)[1])


def main(arch: str, dtype: str) -> None:
    """Compile and print."""
    files = (bias_act, convolve, convolve_up, to_rgb, upfirdn2d)
    for name, values in constants(dtype).items():
        stem = name.split(":")[0]
        kernel = next(getattr(file, stem) for file in files if hasattr(file, stem))
        options = {name: values.pop(name, 4) for name in ("num_warps", "num_stages")}
        made = triton.compile(
            source(kernel, values, dtype), target=GPUTarget("cuda", int(arch), 32), options=options,
        )
        assembler = made.asm["ptx"]
        print(json.dumps({
            "kernel": name, "shared": made.metadata.shared,
            "wgmma": assembler.count("wgmma.mma_async"), "mma": assembler.count("mma.sync"),
            "copies": len(re.findall(r"cp\.async\.c[ag]\.shared\.global .*, 0x10,", assembler)),
            "spilled": spilled(assembler),
        }))


if __name__ == "__main__":
    main(*sys.argv[1:])
