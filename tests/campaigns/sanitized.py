"""What sanitize.py runs in a process with AddressSanitizer: kernels on random shapes, or a decoder on damaged files.

No torch: kernels take addresses. Every answer is compared with numpy's, in double precision.
"""

import ctypes
import io
import json
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

P, Q, D, F, I = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, ctypes.c_float, ctypes.c_int  # noqa: E741
KINDS = {"float": np.float32, "bfloat16": np.uint16}
NEAR = {"float": 2e-4, "bfloat16": 2e-2}
THREADS = (1, 2, 3, 5)
SIDES = (1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 31)
C = ctypes.CDLL(None)
C.malloc.argtypes, C.malloc.restype = (ctypes.c_size_t,), P
C.free.argtypes, C.free.restype = (P,), None


class Buffers:
    """Arrays that end where their memory does, which AddressSanitizer watches; all are freed at the end."""

    def __init__(self) -> None:
        self.held: list[int] = []

    def __enter__(self) -> "Buffers":
        return self

    def __exit__(self, *_: object) -> None:
        for at in self.held:
            C.free(at)

    def like(self, values: np.ndarray, short: int = 0) -> np.ndarray:
        """A copy. short: bytes that it lacks at its end."""
        at = C.malloc(values.nbytes - short)
        self.held.append(at)
        values = np.ascontiguousarray(values)
        ctypes.memmove(at, values.ctypes.data, values.nbytes - short)
        raw = (ctypes.c_uint8 * values.nbytes).from_address(at)
        return np.frombuffer(memoryview(raw), values.dtype).reshape(values.shape)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return self.like(np.full(shape, 0x7F7F, np.uint16) if dtype is np.uint16 else np.full(shape, np.nan, dtype))


def drawn(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.asarray(rng.standard_normal(shape), np.float32)


def stored(values: np.ndarray, kind: str) -> np.ndarray:
    """As the kernels hold numbers; of bfloat16 the upper half of a float."""
    return values if kind == "float" else (values.view(np.uint32) >> 16).astype(np.uint16)


def exact(values: np.ndarray, kind: str) -> np.ndarray:
    """What such numbers are."""
    floats = values if kind == "float" else (values.astype(np.uint32) << 16).view(np.float32)
    return floats.astype(np.float64)


def assert_near(ours: np.ndarray, true: np.ndarray, near: float, what: str) -> None:
    bound = near * (np.abs(true) + np.abs(true).mean() + 1)
    if not (np.abs(ours - true) <= bound).all():
        raise AssertionError(
            f"{what}: off by {np.nanmax(np.abs(ours - true) / bound):.1f} times what rounding explains"
        )


def call(function: Any, takes: tuple[Any, ...], *arguments: Any) -> None:
    function.argtypes, function.restype = takes, I
    status = function(*[a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments])
    assert status == 0


def norm_act(library: ctypes.CDLL, rng: np.random.Generator, kind: str, short: int = 0) -> None:
    rows, channels = (
        int(rng.integers(2, 400)),
        int(rng.integers(1, 90) if rng.random() < 0.9 else rng.integers(90, 2100)),
    )
    ceiling, eps, threads = float(rng.choice([6.0, np.inf])), 1e-3, int(rng.choice(THREADS))
    draw = partial(drawn, rng)
    with Buffers() as memory:
        x, grad = (memory.like(stored(draw(rows, channels) * 2 + 0.5, kind), short) for _ in range(2))
        weight, bias = memory.like(draw(channels)), memory.like(draw(channels) + 1)
        y, grad_x = (memory.empty((rows, channels), KINDS[kind]) for _ in range(2))
        statistics, grad_weight, grad_bias = (
            memory.empty(s, np.float32) for s in ((4, channels), (channels,), (channels,))
        )
        size, limits = (rows, channels), (eps, ceiling)
        takes = (P, P, Q, Q, P, P, D, F, P, I)
        forward = getattr(library, f"norm_act_forward_{kind}")
        call(forward, takes, x, y, *size, weight, bias, *limits, statistics, threads)
        backward, back = getattr(library, f"norm_act_backward_{kind}"), (P, P, P, Q, Q, D, F, P, P, P, I)
        call(backward, back, x, grad, grad_x, *size, *limits, statistics, grad_weight, grad_bias, threads)
        values = exact(x, kind)
        mean, variance = values.mean(0), values.var(0)
        scale = weight / np.sqrt(variance + eps)
        between = (values - mean) * scale + bias
        assert_near(exact(y, kind), between.clip(0, ceiling), NEAR[kind], f"norm_act {rows}x{channels} {kind}")
        # Numbers at the limits of the activation may fall on either side, so its own are asked for what passes.
        between = values * statistics[2].astype(float) + statistics[3]
        passed = np.where((between <= 0) | (between >= ceiling), 0, exact(grad, kind))
        centred = (values - mean) / np.sqrt(variance + eps)
        sums = passed.sum(0), (passed * centred).sum(0)
        true = scale * (passed - (sums[0] + centred * sums[1]) / rows)
        unsure = (np.abs(between) < 1e-3) | (np.abs(between - ceiling) < 1e-3)
        if not unsure.any():
            assert_near(exact(grad_x, kind), true, NEAR[kind], f"norm_act backward {rows}x{channels} {kind}")
            assert_near(grad_bias, sums[0], NEAR[kind], "its bias")
            assert_near(grad_weight, sums[1], NEAR[kind], "its weight")


def drawn_sizes(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, int], int, tuple[int, int]]:
    """x's shape (B, H, W, C), the output's rows and columns, stride, zeros above and left."""
    batch, channels, stride = int(rng.integers(1, 4)), 8 * int(rng.integers(1, 11)), int(rng.integers(1, 3))
    while True:
        sides, before, behind = (
            rng.choice(SIDES, 2).tolist(),
            rng.integers(0, 2, 2).tolist(),
            rng.integers(0, 3, 2).tolist(),
        )
        out = [(side + a + b - 3) // stride + 1 for side, a, b in zip(sides, before, behind, strict=True)]
        if min(side + a + b for side, a, b in zip(sides, before, behind, strict=True)) >= 3:
            return (batch, *sides, channels), (out[0], out[1]), stride, (before[0], before[1])


def windows(x: np.ndarray, out: tuple[int, int], stride: int, before: tuple[int, int]) -> tuple[np.ndarray, list[Any]]:
    """x with zeros around it, and for each of the nine weights the part of it that it is multiplied by."""
    batch, height, width, channels = x.shape
    reach = [max(o * stride + 3, side + b) for o, side, b in zip(out, (height, width), before, strict=True)]
    padded = np.zeros((batch, *reach, channels))
    padded[:, before[0] : before[0] + height, before[1] : before[1] + width] = x
    ends = [stride * (o - 1) + 1 for o in out]
    places = [
        (slice(None), slice(j, j + ends[0], stride), slice(i, i + ends[1], stride)) for j in range(3) for i in range(3)
    ]
    return padded, places


def depthwise(library: ctypes.CDLL, rng: np.random.Generator, kind: str, short: int = 0) -> None:
    shape, out, stride, before = drawn_sizes(rng)
    channels = shape[3]
    with Buffers() as memory:
        x = memory.like(stored(rng.standard_normal(shape).astype(np.float32), kind), short)
        grad = memory.like(stored(rng.standard_normal((shape[0], *out, channels)).astype(np.float32), kind))
        kernels = memory.like(rng.standard_normal((9, channels)).astype(np.float32))
        grad_x, grad_kernels = memory.empty(shape, KINDS[kind]), memory.empty((9, channels), np.float32)
        of = memory.like(np.array([*shape, *out, stride, *before], np.int64))
        function, threads = getattr(library, f"depthwise_backward_{kind}"), int(rng.choice(THREADS))
        call(function, (P, P, P, P, P, P, I), x, grad, kernels, grad_x, grad_kernels, of, threads)
        padded, places = windows(exact(x, kind), out, stride, before)
        given, true = exact(grad, kind), np.zeros_like(padded)
        sums = np.stack([(padded[place] * given).sum((0, 1, 2)) for place in places])
        for weight, place in zip(kernels, places, strict=True):
            true[place] += given * weight
        true = true[:, before[0] : before[0] + shape[1], before[1] : before[1] + shape[2]]
        assert_near(exact(grad_x, kind), true, NEAR[kind], f"depthwise {shape} {out} {stride} {before} {kind}")
        assert_near(grad_kernels, sums, NEAR[kind], f"its weights {shape} {out} {stride} {before} {kind}")


def separable(library: ctypes.CDLL, rng: np.random.Generator, kind: str, short: int = 0) -> None:
    shape, out, stride, before = drawn_sizes(rng)
    channels, outputs = shape[3], int(rng.integers(1, 150))
    behind, ceiling = -outputs % 32, float(rng.choice([6.0, np.inf]))
    draw = partial(drawn, rng)
    with Buffers() as memory:
        x, first, first_bias = (
            memory.like(draw(*shape), short),
            memory.like(draw(9, channels)),
            memory.like(draw(channels)),
        )
        second, second_bias = draw(outputs, channels), draw(outputs)
        packed = np.pad(second, ((0, behind), (0, 0))).reshape(-1, 32, channels).transpose(0, 2, 1)
        weights, biases = memory.like(packed), memory.like(np.pad(second_bias, (0, behind)))
        y = memory.empty((shape[0], *out, outputs), np.float32)
        of = memory.like(np.array([*shape, *out, outputs, stride, *before], np.int64))
        takes, threads = (P, P, P, P, P, P, P, F, I), int(rng.choice(THREADS))
        arguments = x, first, first_bias, weights, biases, y, of, ceiling, threads
        call(library.separable_forward_float, takes, *arguments)
        padded, places = windows(x.astype(float), out, stride, before)
        between = np.zeros((shape[0], *out, channels)) + first_bias
        for weight, place in zip(first, places, strict=True):
            between += padded[place] * weight
        true = (between.clip(0, ceiling) @ second.T.astype(float) + second_bias).clip(0, ceiling)
        assert_near(y, true, NEAR["float"], f"separable {shape} {out} {stride} {before}")


def large_separable(library: ctypes.CDLL, rng: np.random.Generator) -> None:
    """An output that no cache holds is written past them."""
    with Buffers() as memory:
        x, first = memory.like(np.ones((1, 520, 260, 8), np.float32)), memory.like(np.ones((9, 8), np.float32))
        zeros = memory.like(np.zeros(64, np.float32))
        weights = memory.like(np.full((2, 8, 32), 0.01, np.float32))
        y = memory.empty((1, 520, 260, 64), np.float32)
        of = memory.like(np.array([1, 520, 260, 8, 520, 260, 64, 1, 1, 1], np.int64))
        arguments = x, first, zeros, weights, zeros, y, of, np.inf, 2
        call(library.separable_forward_float, (P, P, P, P, P, P, P, F, I), *arguments)
        assert_near(y[0, 1:-1, 1:-1], np.full((518, 258, 64), 0.72), 1e-4, "a large output")


def run_kernels(library: ctypes.CDLL, count: int, rng: np.random.Generator, broken: bool) -> Counter[str]:
    made: Counter[str] = Counter()
    cases: list[tuple[Callable[..., None], str]] = [(f, k) for f in (norm_act, depthwise) for k in KINDS]
    if getattr(library, "separable_forward_fits", lambda: 0)():
        cases.append((separable, "float"))
        large_separable(library, rng)
    for _ in range(100 * count):
        for function, kind in cases:
            function(library, rng, kind, 4 if broken else 0)
            made[f"{function.__name__} {kind}"] += 1
    return made


def drawn_files(rng: np.random.Generator) -> list[bytes]:
    """JPEGs of several samplings, sizes, modes and orders."""
    from PIL import Image

    found = []
    options: list[dict[str, Any]] = [{"subsampling": s} for s in ("4:4:4", "4:2:2", "4:2:0")]
    options += [o | {"progressive": True} for o in options]
    options += [options[2] | {"restart_marker_rows": 1}, options[5] | {"restart_marker_blocks": 3}, {"optimize": True}]
    for number, settings in enumerate(options):
        for mode in ("RGB", "L", "CMYK"):
            width, height = int(rng.integers(1, 200)), int(rng.integers(1, 200))
            small = rng.integers(0, 256, (9, 9, len(mode) if mode != "L" else 1), np.uint8)
            image = Image.fromarray(small.squeeze() if mode == "L" else small, mode).resize((width, height))
            file = io.BytesIO()
            image.save(file, "JPEG", quality=60 + 4 * number, **settings)
            found.append(file.getvalue())
    return found


def damaged(file: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """One of the ways in which files go wrong."""
    data, way = bytearray(file), int(rng.integers(7))
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    if way == 0:  # any bytes
        for at in rng.integers(2, len(data), int(rng.integers(1, 9))):
            data[at] = int(rng.integers(256))
    elif way == 1:  # the headers
        for at in rng.integers(2, min(len(data), 640), int(rng.integers(1, 4))):
            data[at] = int(rng.integers(256))
    elif way == 2:  # cut off
        del data[int(rng.integers(len(data))) :]
    elif way == 3 and frame > 0:  # kind of frame, bits of a number, sides, samplings
        at = frame + int(rng.choice([1, 4, 5, 6, 7, 8, 9, 11, 12, 14, 15, 17, 18]))
        data[min(at, len(data) - 1)] = int(
            rng.choice([0, 1, 2, 3, 12, 0x11, 0x14, 0x22, 0x41, 0x44, 0xC1, 0xC3, 0xC9, 0xCA, 255])
        )
    elif way == 4:  # the end of another
        at = int(rng.integers(2, len(data)))
        data[at:] = other[int(rng.integers(2, len(other))) :]
    elif way == 5:  # some bytes more or fewer
        at = int(rng.integers(2, len(data)))
        data[at : at + int(rng.integers(40))] = rng.integers(0, 256, int(rng.integers(40)), np.uint8).tobytes()
    else:  # a part twice
        a, b = sorted(rng.integers(2, len(data), 2).tolist())
        data[b:b] = data[a:b]
    return bytes(data) or b"\xff"


def run_jpeg(library: ctypes.CDLL, count: int, rng: np.random.Generator, broken: bool) -> Counter[str]:
    function, made = library.jpeg_part, Counter[str]()
    function.argtypes, function.restype = (P, Q, I, I, I, I, I, P), I
    files = drawn_files(rng)
    for number in range(4000 * count):
        whole = files[int(rng.integers(len(files)))]
        data = whole if number % 20 == 0 else damaged(whole, files[int(rng.integers(len(files)))], rng)
        n, edge = int(rng.integers(1, 9)), int(rng.choice([2, 9, 30, 90]))
        left, top = rng.integers(0, edge, 2).tolist()
        width, height = rng.integers(1, edge + 1, 2).tolist()
        if number % 7 == 0:  # what Python never hands over
            strange = rng.choice([-1, 0, 2**31 - 1, -(2**31), 65501, 65500], 4).tolist()
            n, left, top = int(rng.choice([0, 9, -1, 8])), strange[0], strange[1]
        with Buffers() as memory:
            file = memory.like(np.frombuffer(data, np.uint8))
            pixels = memory.like(np.zeros((height, width, 3), np.uint8), 3 if broken else 0)
            decoded = function(file.ctypes.data, len(data), n, left, top, width, height, pixels.ctypes.data)
            made["parts decoded" if decoded else "refused"] += 1
    return made


if __name__ == "__main__":
    what, path, count, seed, *more = sys.argv[1:]
    run = {"kernels": run_kernels, "jpeg": run_jpeg}[what]
    print(json.dumps(run(ctypes.CDLL(path), int(count), np.random.default_rng(int(seed)), "broken" in more)))
