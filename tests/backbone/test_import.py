"""`import backbone` is light, and leaves the process that imports it alone."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import backbone

PACKAGE = Path(backbone.__file__).parent
REPORT = """
import json, logging, os, signal, sys, warnings
import torch
def process():
    return repr((
        torch.get_num_threads(), torch.get_num_interop_threads(), torch.get_default_dtype(), torch.is_grad_enabled(),
        torch.backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled(), torch.backends.mkldnn.enabled,
        torch.get_float32_matmul_precision(), torch.initial_seed(), torch.get_rng_state().sum().item(),
        dict(os.environ), sys.path, warnings.filters, logging.root.level, logging.root.handlers, sys.excepthook,
        [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)],
    ))
before, known = process(), set(sys.modules)
import backbone
new = sorted({name.partition(".")[0] for name in sys.modules.keys() - known} - sys.stdlib_module_names)
print(json.dumps({"new": new, "unchanged": before == process()}))
"""


def test_importing_backbone_loads_torch_only_and_changes_nothing():
    run = subprocess.run(
        [sys.executable, "-c", REPORT],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(run.stdout)
    assert set(report["new"]) <= {"backbone", "torch"}
    assert report["unchanged"]
    assert run.stderr == ""


def top_level(tree: ast.Module) -> set[ast.AST]:
    """Everything that runs when the module is imported."""
    inside = {node for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for node in ast.walk(f)}
    return set(ast.walk(tree)) - inside


def test_the_source_imports_torch_the_standard_library_and_itself():
    """Readers of weight files import what their format needs when they are called; kernels alone call C."""
    always: set[str] = set()
    when_called: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        at_once = top_level(tree)
        allowed = {"ctypes"} if path == PACKAGE / "kernels" / "__init__.py" else set()
        for node in ast.walk(tree):
            modules = always if node in at_once else when_called
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names} - allowed
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                modules.add((node.module or "").partition(".")[0])
    assert always - sys.stdlib_module_names <= {"torch", "backbone"}
    optional = {"h5py", "tflite", "flatbuffers", "safetensors", "timm", "numpy"}
    assert when_called - sys.stdlib_module_names <= {"torch", "backbone"} | optional
    assert not (always | when_called) & {"ctypes", "subprocess", "signal"}
