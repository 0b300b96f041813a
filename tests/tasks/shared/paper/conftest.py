"""All tables, filled once."""

import pytest

from tasks.shared.paper.counting import Counter
from tasks.shared.paper.results import fill_tables
from tasks.shared.paper.sheets import Sheet
from tasks.shared.paper.tables import NUMBERS


@pytest.fixture(scope="session")
def counter() -> Counter:
    return Counter()


@pytest.fixture(scope="session")
def sheets(counter: Counter) -> dict[int, Sheet]:
    return {sheet.number: sheet for sheet in fill_tables(NUMBERS, counter)}
