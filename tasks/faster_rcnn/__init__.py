"""Faster-RCNN on COCO (Sec. 4.6, Table 13)."""

from tasks.faster_rcnn.model import FasterRCNN

__all__ = ["FasterRCNN"]
