"""What the pages on security and reliability promise names tests and code that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("tests", "tasks", "backbone")
FILES = {str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}


@pytest.mark.parametrize("page", ["security.md", "reliability.md"])
def test_every_file_that_is_named_is_there(page: str) -> None:
    named = set(re.findall(r"`([\w/]+\.py)`", (ROOT / "docs" / page).read_text(encoding="utf-8")))
    assert len(named) > 8
    lost = [name for name in named if not any(file == name or file.endswith(f"/{name}") for file in FILES)]
    assert not lost


def test_every_promise_of_security_names_its_tests() -> None:
    text = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    promised = text.split("## What is promised")[1].split("## What is not promised")[0]
    promises = re.split(r"^\*\*\d+\. ", promised, flags=re.MULTILINE)[1:]
    assert len(promises) == 9
    assert all(re.search(r"Tests?:\s[^*]*test_\w+\.py", promise) for promise in promises)
