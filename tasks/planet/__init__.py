"""PlaNet: where on earth a photo was taken, as a choice among S2 cells (Sec. 4.4, Table 11)."""

from tasks.planet.model import PlaNet

__all__ = ["PlaNet"]
