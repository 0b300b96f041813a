"""Image classification (Secs. 3.2, 4.1 and 4.2)."""

from tasks.classification.model import Classifier

__all__ = ["Classifier"]
