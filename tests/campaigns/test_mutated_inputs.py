"""Hundreds of damaged and hostile files, given to every reader: each is read, or refused in a line that names it.

    INPUTS=5000 SEED=0 REPORT=mutated.md pytest tests/campaigns/test_mutated_inputs.py -m slow -n 0

No other error, no crash, no file that takes more than ten seconds or, images apart, 64 MB of memory, and nothing left
half-written. mutated.py, which does it, repeats one input by its number.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.campaigns.readers import READERS
from tests.campaigns.readers_of_weights import READERS as READERS_OF_WEIGHTS

SEED = int(os.environ.get("SEED", "0"))
ALL = READERS | READERS_OF_WEIGHTS
EACH = -(-int(os.environ.get("INPUTS", "420")) // len(ALL))


def table(results: list[dict[str, Any]]) -> str:
    rows = ["| reader | inputs | read | refused | findings | s at most | MB at most |", "|---|---|---|---|---|---|---|"]
    for result in results:
        counts = [result.get(kind, 0) for kind in ("read", "refused", "wrong")]
        cells = [result["reader"], sum(counts), *counts, result.get("seconds"), result.get("MB")]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


@pytest.mark.slow
def test_no_file_does_harm() -> None:
    script = Path(__file__).with_name("mutated.py")
    done = subprocess.run([sys.executable, script, str(EACH), str(SEED)], capture_output=True, text=True)
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"reader"')]
    findings = [finding for result in results for finding in result["findings"]]
    told = "\n".join([f"seed {SEED}", table(results), *findings])
    print(told)
    if report := os.environ.get("REPORT"):
        Path(report).write_text(told + "\n")
    assert [result["reader"] for result in results] == list(ALL), done.stderr
    assert sum(result.get(kind, 0) for result in results for kind in ("read", "refused", "wrong")) >= 400
    assert not findings, f"{len(findings)} findings\n" + "\n".join(findings)
