"""Files of torch.export, read without running code from them.

`torch.export.load` is no reader for a stranger's file: it unpickles (sample inputs, constants, weights that the file
calls pickles), evaluates text as Python (symbolic sizes, guards, names), loads compiled libraries, and calls whatever
of torch the file names. Two things alone are read here: the graph, which is JSON, and the weights, bare numbers.
"""

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasks.shared.distillation.operators import operator_of
from tasks.shared.distillation.program import DTYPES, Call, Json, Program, names_in, value_of
from tasks.shared.errors import UserError

SCHEMA = 8  # major version of the format that torch writes
STRIDED = 7  # the layout of ordinary tensors
EXPECTED = "a program that torch.export.save has written (.pt2)"
ANEW = "export it anew"
TRAINS = ("training", "train", "dropout_p")  # arguments that are true, or above 0, in training alone
STORED = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}


def read_program(path: Path) -> Program:
    """The program in a file. Nothing in the file is executed.

    Raises UserError naming the file if it is damaged, something else, of another version of the format, exported in
    training mode, takes or gives more than one tensor, or needs what would run code: a pickle, a compiled library, or a
    function that is none of the operators in `operators.py`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(path, archive)
    except UserError:
        raise
    except (zipfile.BadZipFile, OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not {EXPECTED}, or damaged ({error})") from error


def _read(path: Path, archive: zipfile.ZipFile) -> Program:
    names = archive.namelist()
    root = next((name.removesuffix("archive_format") for name in names if name.endswith("/archive_format")), None)
    if root is None:
        raise UserError(f"{path}: a zip file, but no archive of torch.export of today; expected {EXPECTED}, or {ANEW}")
    inside = [name.removeprefix(root) for name in names]
    if any(name.startswith("data/aotinductor/") for name in inside):
        raise UserError(f"{path}: holds a compiled library, which would run code; expected {EXPECTED}")
    models = [name for name in inside if name.startswith("models/") and name.endswith(".json")]
    if len(models) != 1:
        raise UserError(f"{path}: holds {len(models)} programs; expected one")
    content = json.loads(archive.read(root + models[0]))
    version = content["schema_version"]["major"]
    if version != SCHEMA:
        raise UserError(f"{path}: version {version} of the format; expected {SCHEMA}: {ANEW}")
    model = models[0].removeprefix("models/").removesuffix(".json")
    stored: dict[str, Tensor] = {}
    for kind in ("weights", "constants"):
        listed = f"data/{kind}/{model}_{kind}_config.json"
        if listed not in inside:
            raise UserError(f"{path}: holds no {listed}, as files of older torch; {ANEW}")
        payloads = json.loads(archive.read(root + listed))["config"]
        stored |= _tensors(path, archive, f"{root}data/{kind}/", payloads)
    return _program(path, content["graph_module"], stored)


def _tensors(path: Path, archive: zipfile.ZipFile, folder: str, payloads: dict[str, Json]) -> dict[str, Tensor]:
    """Weights by name. Some may share one member of the archive."""
    tensors: dict[str, Tensor] = {}
    storages: dict[str, bytearray] = {}
    for name, payload in payloads.items():
        about, member = payload["tensor_meta"], payload["path_name"]
        if payload["use_pickle"] or about is None:
            raise UserError(f"{path}: {name} is a pickle, which may run code; expected plain tensors")
        if about["dtype"] not in DTYPES or about["layout"] != STRIDED:
            raise UserError(f"{path}: {name} is a tensor of an unusual type or layout; expected plain numbers")
        sizes, strides = ([int(side["as_int"]) for side in about[key]] for key in ("sizes", "strides"))
        dtype = DTYPES[about["dtype"]]
        if not math.prod(sizes):
            tensors[name] = torch.empty(sizes, dtype=dtype)
            continue
        if member not in storages:
            storages[member] = bytearray(archive.read(folder + member))
        flat = torch.frombuffer(storages[member], dtype=dtype)
        tensors[name] = flat.as_strided(sizes, strides, int(about["storage_offset"]["as_int"]))
    return tensors


def _program(path: Path, module: Json, stored: dict[str, Tensor]) -> Program:
    graph, signature = module["graph"], module["signature"]
    weights, taken, learnable = {}, [], 0
    for argument, spec in zip(graph["inputs"], signature["input_specs"], strict=True):
        ((kind, told),) = spec.items()
        if kind in STORED:
            tensor = stored[told[STORED[kind]]]
            weights[argument["as_tensor"]["name"]] = tensor
            learnable += tensor.numel() if kind == "parameter" else 0
        else:
            taken.append(argument)
    entry = _only(path, "takes", "pictures (B, 3, height, width)", taken)
    changed = sorted({kind for spec in signature["output_specs"] for kind in spec} - {"user_output"})
    if changed:
        raise UserError(f"{path}: exported in training mode ({', '.join(changed)}); call eval() and {ANEW}")
    result = _only(path, "gives", "answers (B, K)", graph["outputs"])
    about = graph["tensor_values"][entry]
    sides = [side.get("as_int") for side in about["sizes"]]
    dtype = DTYPES.get(about["dtype"])
    if len(sides) != 4 or sides[1] != 3 or dtype is None or not dtype.is_floating_point:
        shape = ", ".join("any" if side is None else str(side) for side in sides)
        raise UserError(f"{path}: takes ({shape}) of {dtype}; expected floating-point pictures (B, 3, height, width)")
    size = None if None in sides[2:] else (sides[2], sides[3])
    calls = _calls(path, graph["nodes"], {entry, result, *weights})
    return Program(str(path), calls, weights, learnable, entry, result, dtype, sides[0], size)


def _only(path: Path, does: str, expected: str, arguments: list[Json]) -> str:
    """The name of the one tensor among arguments."""
    if len(arguments) != 1 or "as_tensor" not in arguments[0]:
        found = [str(each.get("as_tensor", {}).get("name", next(iter(each)))) for each in arguments]
        raise UserError(f"{path}: {does} {len(arguments)} values ({', '.join(found)}); expected one tensor, {expected}")
    return arguments[0]["as_tensor"]["name"]


def _calls(path: Path, nodes: list[Json], kept: set[str]) -> list[Call]:
    """kept: values that stay to the end."""
    nodes = [node for node in nodes if node["outputs"]]  # the others are assertions
    foreign = {node["target"] for node in nodes if operator_of(node["target"]) is None}
    if foreign:
        raise UserError(
            f"{path}: calls {', '.join(sorted(foreign))}; expected none but the operators of networks for pictures "
            "(tasks/shared/distillation/operators.py), as others might do anything"
        )
    calls = []
    for node in nodes:
        function = operator_of(node["target"])
        assert function is not None
        arguments = {each["name"]: each["arg"] for each in node["inputs"]}
        if trains := [
            key for key in TRAINS if value_of(arguments.get(key, {"as_none": True}), {}, torch.device("cpu"))
        ]:
            raise UserError(
                f"{path}: exported in training mode ({node['target']}, {trains[0]}); call eval() and {ANEW}"
            )
        named = isinstance(function, torch._ops.OpOverload)
        positional = [] if named else [each["arg"] for each in node["inputs"]]
        calls.append(Call(function, positional, arguments if named else {}, [_named(each) for each in node["outputs"]]))
    needed = set(kept)
    for call in reversed(calls):
        read = {name for argument in (*call.positional, *call.by_name.values()) for name in names_in(argument)}
        call.done.extend(read - needed)
        needed |= read
    return calls


def _named(output: Json) -> Any:
    """What a result of an operator is called: a name, a list of them, or None where nothing reads it."""
    ((kind, content),) = output.items()
    match kind:
        case "as_tensor":
            return content["name"]
        case "as_tensors":
            return [each["name"] for each in content]
        case "as_sym_int" | "as_sym_float" | "as_sym_bool":
            return content["as_name"]
        case "as_none":
            return None
    raise ValueError(f"it holds a result of the kind {kind}, which is not run from files")
