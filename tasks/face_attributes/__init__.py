"""Face attributes, learnt from another network's answers (Sec. 4.5, Table 12)."""

from tasks.face_attributes.model import FaceAttributes

__all__ = ["FaceAttributes"]
