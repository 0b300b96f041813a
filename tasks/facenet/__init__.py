"""Face embeddings: a MobileNet that imitates FaceNet's, or any other network's (Sec. 4.7, Table 14)."""

from tasks.facenet.model import FaceNet

__all__ = ["FaceNet"]
