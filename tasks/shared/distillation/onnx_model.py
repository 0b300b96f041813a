"""An ONNX file as a teacher, through onnxruntime."""

import logging
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from tasks.shared.distillation.files import check_file, digest_of
from tasks.shared.distillation.fixed_batches import in_batches
from tasks.shared.distillation.teacher import Teacher, fixed_size
from tasks.shared.errors import UserError, installed_by
from tasks.shared.processes.memory import total_memory

with installed_by("onnx", "teacher=onnx"):
    import onnxruntime
    from google.protobuf.message import EncodeError
    from onnx import ModelProto
    from onnxruntime.capi.onnxruntime_pybind11_state import (
        Fail,
        InvalidArgument,
        InvalidGraph,
        InvalidProtobuf,
        NotImplemented,
        RuntimeException,
    )

    from tasks.shared.distillation.onnx_file import read_model
    from tasks.shared.distillation.onnx_graph import Entry, check_maps, cost_of, entry_of, pick_output, resized

log = logging.getLogger(__name__)
ERRORS = (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NotImplemented, RuntimeException)
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
SILENT = 4  # onnxruntime's severity "fatal": what fails is said here
NO_ROOM = "smaller than requested bytes"  # of what onnxruntime says where its bound is reached
ALIKE = 1e-4  # of the largest number: by so much may answers differ that should be equal


@cache
def memory_bound() -> int:
    """Bytes that all maps of this process's ONNX networks may take together, from now on: half of the memory.

    What a file makes may have a size that only running it tells, so onnxruntime itself has to be bounded.
    """
    most = total_memory() // 2
    place = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(place, onnxruntime.OrtArenaCfg(most, -1, -1, -1))
    return most


class OnnxNetwork:
    """A model under onnxruntime.

    A file for a certain number of images is tried with any number instead: where it then answers random images as
    it does in batches of its own size, that stays; else it is run so many at a time.
    """

    def __init__(self, source: str, model: ModelProto, entry: Entry, output: str, size: tuple[int, int]):
        self.source, self.model, self.entry, self.output, self.size = source, model, entry, output, size
        self.batch, self.device = entry.batch, torch.device("cpu")
        self.session = self._open(model)
        if self.batch is not None:
            self._free_batch(self.batch)

    def to(self, device: torch.device) -> None:
        self.device = device
        self.session = self._open(self.model)

    def __call__(self, images: Tensor) -> Tensor:
        if self.batch is None:
            return self._run(images)
        return in_batches(self._run, images, self.batch)

    def cost(self) -> tuple[int, int] | None:
        return cost_of(self.model, self.entry, self.size)

    def _open(self, model: ModelProto) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # torch needs the cores in between
        options.log_severity_level, options.use_deterministic_compute = SILENT, True
        memory_bound()
        options.add_session_config_entry("session.use_env_allocators", "1")
        cuda = self.device.type == "cuda" and CUDA in onnxruntime.get_available_providers()
        providers = [(CUDA, {"device_id": self.device.index or 0}), CPU] if cuda else [CPU]
        try:
            return onnxruntime.InferenceSession(model.SerializeToString(), options, providers)
        except (ValueError, EncodeError) as error:
            raise UserError(f"{self.source}: too large, protobuf holds 2 GiB at most ({error})") from error
        except ERRORS as error:
            raise UserError(f"{self.source}: onnxruntime {onnxruntime.__version__} cannot run it ({error})") from error

    def _run(self, images: Tensor) -> Tensor:
        views = images.permute(0, 2, 3, 1) if self.entry.last else images
        fed: dict[str, np.ndarray] = {
            self.entry.name: views.contiguous().cpu().numpy().astype(self.entry.dtype, copy=False)
        }
        try:
            (predictions,) = self.session.run([self.output], fed)
        except ERRORS as error:
            if NO_ROOM in str(error):
                most = f"{memory_bound() / 1e9:.3g} GB, half of this machine's memory"
                raise UserError(
                    f"{self.source}: its maps of {tuple(images.shape)} take more than {most}; expected fewer: a "
                    "smaller batch, size or network"
                ) from error
            raise UserError(f"{self.source}: onnxruntime cannot run it on {tuple(images.shape)} ({error})") from error
        if not isinstance(predictions, np.ndarray):
            raise UserError(
                f"{self.source}: its output {self.output} is a {type(predictions).__name__}; expected numbers"
            )
        return torch.from_numpy(predictions).to(self.device)

    def _free_batch(self, count: int) -> None:
        images = torch.randn(count + 2, 3, *self.size, generator=torch.Generator().manual_seed(0))
        wanted, kept = self(images), (self.model, self.session)
        self.model = resized(self.model, self.entry, "batch", self.size)
        try:
            self.session = self._open(self.model)
            reason = None if _alike(self._run(images), wanted) else "its answers change"
        except UserError as error:
            reason = str(error).partition("\n")[0]
        if reason is None:
            self.batch = None
            log.info("%s: made for batches of %d, takes any: its answers are the same", self.source, count)
        else:
            self.model, self.session = kept
            log.info("%s: runs in batches of %d, as it was made for; in larger ones: %s", self.source, count, reason)


def _alike(predictions: Tensor, wanted: Tensor) -> bool:
    if predictions.shape != wanted.shape:
        return False
    return bool((predictions.float() - wanted.float()).abs().max() <= ALIKE * wanted.float().abs().max())


def onnx_teacher(
    path: str,
    *,
    output_name: str | None = None,
    size: int | Sequence[int] | None = None,
    mean: Sequence[float] | None = (0.5, 0.5, 0.5),
    std: Sequence[float] | None = (0.5, 0.5, 0.5),
    channels: str = "rgb",
    output: str | None = "logits",
) -> Teacher:
    """An ONNX file with one input, images in float32 or float16, channels first or last, and an output (B, K).

    It runs on the CPU, or beside images on a GPU where onnxruntime has a provider for it, with as many threads as
    torch. Such files hold no code; operators of one's own, which would need a library, are refused.

    Args:
        path: of the file; weights that it keeps in files of their own lie beside it.
        output_name: which output answers, where there are several.
        size: height and width of the images, where the file takes any.
        mean, std, channels, output: see `Teacher`.

    Raises ValueError naming the key or file.
    """
    file = check_file(path, "an ONNX file")
    model, files = read_model(file)
    entry = entry_of(model, file)
    name, own = pick_output(model, output_name, file), fixed_size(size, entry.size)
    check_maps(model, entry, own, file)
    return Teacher(
        OnnxNetwork(str(file), model, entry, name, own),
        name=f"onnx {file.name}",
        size=own,
        content=digest_of(files, name),
        mean=mean,
        std=std,
        channels=channels,
        output=output,
    )
