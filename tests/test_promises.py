"""What the page on security promises names its tests; that they are there is tests/test_docs.py's."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_promise_of_security_names_its_tests() -> None:
    text = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    promised = text.split("## What is promised")[1].split("## What is not promised")[0]
    promises = re.split(r"^\*\*\d+\. ", promised, flags=re.MULTILINE)[1:]
    assert len(promises) == 9
    assert all(re.search(r"Tests?:\s[^*]*test_\w+\.py", promise) for promise in promises)
