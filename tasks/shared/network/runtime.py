"""What the machine offers, and what it takes to use it. Called by the tools only, never on import."""

import ctypes
import platform

import torch

from tasks.shared.errors import UserError

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
PRECISIONS = ("bf16-mixed", "32-true", "16-mixed", "bf16-true", "16-true", "64-true", "bf16", "16", "32", "64")
# mallopt's keys and values (malloc.h): keep freed memory instead of handing it back to the kernel.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_NEVER, _TOP_PAD = 2**31 - 1, 64 << 20


def keep_heap() -> bool:
    """Let glibc reuse a step's activations in the next step; True where that could be set.

    By default they are mapped and unmapped every step, and the page faults take half of a CPU's training time
    (0.69 million a step at batch 32, 224 pixels). Peak memory grows by 10 to 20 %. Other C libraries: nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _TOP_PAD))
    return all([mallopt(key, value) for key, value in settings])


def check_accelerator(accelerator: str) -> None:
    """Raise UserError for what is no device, and for a GPU where there is none."""
    if accelerator not in ACCELERATORS:
        raise UserError(f"trainer.accelerator={accelerator!r}; expected one of {', '.join(ACCELERATORS)}")
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise UserError(
            f"trainer.accelerator={accelerator}, but torch sees no CUDA device; use trainer=auto or trainer=cpu"
        )


def pick_device(accelerator: str) -> torch.device:
    """`"auto"` takes a GPU where there is one; `"cpu"`, `"gpu"` or a torch device type as said."""
    if accelerator == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device({"gpu": "cuda"}.get(accelerator, accelerator))


def pick_precision(device: torch.device, wish: object = "auto") -> str:
    """What Lightning calls `trainer.precision`; `"auto"` is bf16 autocast where the device computes in bf16, else fp32.

    A CPU without bf16 instructions emulates them, at twice the time of fp32. Raises UserError for what is no precision.
    """
    if wish != "auto":
        if str(wish) not in PRECISIONS:
            raise UserError(f"trainer.precision={wish!r}; expected auto or one of {', '.join(PRECISIONS)}")
        return str(wish)
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        instructions = torch.cpu.get_capabilities()
        fast = instructions.get("avx512_bf16", False) or instructions.get("amx_tile", False)
    return "bf16-mixed" if fast else "32-true"
