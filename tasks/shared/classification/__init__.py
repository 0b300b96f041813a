"""An image, a class: what classification and dogs share."""

from tasks.shared.classification.model import Classifier

__all__ = ["Classifier"]
