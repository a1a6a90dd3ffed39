"""Compile every Triton kernel for GPUs that need not be there; print what the compiler made.

    python tests/compile_kernels.py ARCH DTYPE        such as 90 bf16

One line of JSON a kernel: shared memory in bytes, matrix instructions, registers spilled. Run in a
process of its own, where the interpreter is off.
"""

import json
import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from cagc_lib.ops import (
    bias_act_triton,
    modulated_conv2d_kernels,
    to_rgb_triton,
    upfirdn2d_triton,
)

SINGLE = {"s", "d", "bias", "noise", "s_large", "s_small", "bias_sums", "noise_sums", "f", "rgb"}
TAIL = {"GAIN": 1.4, "SLOPE": 0.2, "CLAMP": 256.0, "HAS_BIAS": True, "HAS_NOISE": True}
# channels lie side by side; everything that steps from pixel to pixel is a multiple of 16
SIDE_BY_SIDE = {"x_c", "out_c", "other_c", "weight_o", "large_c", "small_c", "g_c", "y_c"}


def constants(dtype: str) -> dict[str, dict]:
    """Compile-time arguments of each kernel."""
    kind = {"bf16": tl.bfloat16, "fp16": tl.float16, "fp32": tl.float32}[dtype]
    dot = {"ACC": tl.float32, "KIND": kind, "PRECISION": "ieee"}
    convolve = TAIL | dot | {
        "SIDE": 3, "STRIDE": 1, "PAD": 1, "BLOCKS": 5, "FLIP": False, "BM": 64, "BN": 64, "BK": 32,
    }
    return {
        "_convolve": convolve | {"REDUCE": False},
        "_convolve:reduce": convolve | {"REDUCE": True},
        "_convolve_up": TAIL | dot | {"BLOCKS": 5, "TH": 4, "TW": 16, "BN": 64, "BK": 32},
        "_weight_gradient": dot | {
            "SIDE": 3, "STRIDE": 1, "PAD": 1, "STEPS": 8, "BC": 64, "BF": 64, "BP": 64,
        },
        "_demodulate": {
            "TAPS": 9, "BLOCKS": 3, "ACC": tl.float32, "BN": 16, "BO": 64, "BI": 64,
        },
        "_bias_act": TAIL | {"ACC": tl.float32, "BP": 64, "BC": 64},
        "_tail_gradient": {
            "GAIN": 1.4, "SLOPE": 0.2, "CLAMP": None, "ACC": tl.float32, "BLOCKS": 3, "BP": 64,
            "BC": 64,
        },
        "_upfirdn": {
            "GAIN": 4.0, "UP": 2, "DOWN": 1, "TAPS": 4, "TURNED": False, "ACC": tl.float32,
            "BP": 64, "BC": 64,
        },
        "_to_rgb": {"HAS_RGB": True, "BLOCKS": 5, "ACC": tl.float32, "BM": 128, "BK": 32},
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
        if signature[name] != "constexpr" and (name in tensors or name[-2:] in ("_n", "_h", "_w")):
            attributes[(place,)] = [["tt.divisibility", 16]]
    return ASTSource(kernel, signature, fixed, attributes)


def main(arch: str, dtype: str) -> None:
    """Compile and print."""
    files = bias_act_triton, modulated_conv2d_kernels, to_rgb_triton, upfirdn2d_triton
    for name, values in constants(dtype).items():
        stem = name.split(":")[0]
        kernel = next(getattr(file, stem) for file in files if hasattr(file, stem))
        made = triton.compile(
            source(kernel, values, dtype), target=GPUTarget("cuda", int(arch), 32),
            options={"num_warps": 4, "num_stages": 2},
        )
        assembler = made.asm["ptx"]
        print(json.dumps({
            "kernel": name, "shared": made.metadata.shared,
            "wgmma": assembler.count("wgmma.mma_async"), "mma": assembler.count("mma.sync"),
        }))


if __name__ == "__main__":
    main(*sys.argv[1:])
