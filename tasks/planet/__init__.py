"""PlaNet: where on earth a photo was taken, as a choice among S2 cells (Sec. 4.4, Table 11)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.planet.model import PlaNet

__all__ = ["PlaNet"]


def __getattr__(name: str) -> Any:
    """The task, with torch, once it is asked for: tools/prepare_planet.py needs this package's settings alone."""
    if name == "PlaNet":
        from tasks.planet.model import PlaNet

        return PlaNet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
