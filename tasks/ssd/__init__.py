"""SSD-300 on COCO (Sec. 4.6, Table 13)."""

from tasks.ssd.model import SSD

__all__ = ["SSD"]
