"""FaceNet in small: face embeddings learnt from another network's (Sec. 4.7), or from identities."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from backbone import Backbone
from tasks.facenet.compare import compare_two, threshold_of
from tasks.facenet.draw import draw_embedding
from tasks.facenet.embeddings import FORMATS, Embedding, save_embeddings
from tasks.facenet.evaluate import FaceEvaluator
from tasks.facenet.margin import MarginLoss
from tasks.facenet.metrics import check_far
from tasks.facenet.pairs import count_pairs
from tasks.shared.contract import TeacherInfo
from tasks.shared.errors import UserError, check_count
from tasks.shared.faces.dataset import FaceData, FaceInfo, FaceTarget
from tasks.shared.network.pooled_task import PooledTask

log = logging.getLogger(__name__)
PAIRS = ("listed", "all")


class FaceNet(PooledTask):
    """Global average pooling, dropout and one linear layer, whose outputs are the embedding.

    Args:
        backbone: a module with `feature_info`, `input_mean`, `input_std`, that returns a dict of maps.
        num_classes: identities to learn from; 0 learns from a teacher alone.
        resolution: side of the square input image in pixels.
        width: numbers of an embedding.
        normalise: embeddings have length 1, and the teacher's are brought to it; False takes both as they are.
        dropout: share of features that training drops.
        identities: `scale` and `margin` of `MarginLoss`.
        far: the false accept rate at which VAL is told.
        pairs: "listed", those that the data lists, and all where it lists none; or "all".
        threshold: of squared distance, below which two images are taken for one person's; None is the run's own.
        embeddings: "npz" or "parquet", how they are saved.
        crop, crop_share: how whole images are cut for it, see `tasks.shared.images.crops.center_crop`.

    Raises ValueError for what `PooledHead` and `MarginLoss` refuse, and for values outside their range.
    """

    monitored_metrics = ("cosine", "val_at_far", "auc", "accuracy")
    data_type = "faces"
    compares = True

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        resolution: int = 160,
        *,
        width: int = 128,
        normalise: bool = True,
        dropout: float = 0.0,
        identities: dict[str, float] | None = None,
        far: float = 1e-3,
        pairs: str = "listed",
        threshold: float | None = None,
        embeddings: str = "npz",
        crop: str = "short_side",
        crop_share: float = 0.875,
    ):
        if not 0 < far < 1:
            raise ValueError(f"task.far={far}; expected above 0 and below 1")
        for key, value, known in (("pairs", pairs, PAIRS), ("embeddings", embeddings, FORMATS)):
            if value not in known:
                raise ValueError(f"task.{key}={value!r}; expected one of {', '.join(known)}")
        check_count("task.width", width)
        if threshold is not None and (not isinstance(threshold, int | float) or isinstance(threshold, bool)):
            raise ValueError(f"task.threshold={threshold!r}; expected a squared distance, or null for the run's own")
        super().__init__(backbone, width, resolution, dropout=dropout, crop=crop, crop_share=crop_share)
        self.unit_length, self.far, self.pairs = normalise, far, pairs
        self.threshold, self.embeddings = threshold, embeddings
        margin = {"scale": 30.0, "margin": 0.35} | (identities or {})
        self.identities = MarginLoss(num_classes, width, **margin) if num_classes else None  # of use in training alone

    @classmethod
    def count_outputs(cls, data: Any, teacher_dim: int | None) -> int:
        """The identities to train on; none where there is a teacher, and no label is looked at."""
        if teacher_dim is not None:
            return 0
        if (identities := data.identities("train")) is None:
            raise UserError(
                "task=facenet learns from a teacher or from identities, which this data does not have: expected "
                "teacher=..., or data such as data=face_folder"
            )
        return int(identities.max()) + 1

    def respond(self, maps: dict[str, Tensor], images: Tensor) -> Tensor:
        """-> embeddings (B, D) float32."""
        return self._embedding(self.head(maps))

    def _embedding(self, vectors: Tensor) -> Tensor:
        """From outputs (B, D), the head's or a teacher's, to embeddings."""
        return F.normalize(vectors.float(), dim=1) if self.unit_length else vectors.float()

    def loss(self, outputs: Tensor, targets: Sequence[FaceTarget]) -> dict[str, Tensor]:
        """targets: `teacher` (D,) each, the teacher's embedding; or where there is no teacher `identity` (int)."""
        if "teacher" in targets[0]:
            teacher = self._embedding(torch.stack([target["teacher"] for target in targets]).to(outputs.device))
            return {"squared_difference": (outputs - teacher).square().sum(1).mean()}
        assert self.identities is not None, "without a teacher there are identities"
        labels = torch.tensor([int(target["identity"]) for target in targets], device=outputs.device)
        return {"margin_cross_entropy": self.identities(outputs, labels)}

    def check_teacher(self, teacher: TeacherInfo, info: FaceInfo) -> None:
        width = self.head.out_features
        if teacher.num_outputs != width:
            raise UserError(
                f"teacher {teacher.name}: its embeddings have {teacher.num_outputs} numbers, the student's {width}; "
                f"expected task.width={teacher.num_outputs}"
            )

    def predict(self, outputs: Tensor, sizes: Tensor) -> list[Embedding]:
        return [Embedding(row) for row in outputs.float().cpu()]

    def evaluator(self, data: FaceData, info: FaceInfo) -> FaceEvaluator:
        listed = None if self.pairs == "all" else data.pairs
        identities = data.identities("val")
        if listed is not None:
            same = int(listed[:, 2].sum())
            check_far(self.far, same, len(listed) - same)
        elif identities is not None:
            check_far(self.far, *count_pairs(identities))
        return FaceEvaluator(
            self.far,
            self._embedding,
            pairs=data.pairs,
            folds=data.folds,
            all_pairs=listed is None,
            image=data.image,
            file_format=self.embeddings,
        )

    def draw(
        self, image: Image.Image, result: Embedding, info: FaceInfo, target: FaceTarget | None = None
    ) -> Image.Image:
        teacher = None
        if target is not None and "teacher" in target:
            teacher = self._embedding(target["teacher"][None])[0].cpu().numpy()
        return draw_embedding(image, result.vector.numpy(), teacher)

    def describe(self, result: Embedding, info: FaceInfo) -> dict[str, Any]:
        """`embedding`: its numbers."""
        return {"embedding": result.vector.tolist()}

    def summarise(
        self, files: Sequence[str | Path], predictions: list[dict[str, Any]], figures: dict[str, float], output: Path
    ) -> None:
        """The embeddings of all images as one file, and of two whether they show one person."""
        vectors = np.array([prediction["answer"]["embedding"] for prediction in predictions], np.float32)
        path = save_embeddings(
            output, self.embeddings, [prediction["file"] for prediction in predictions], embedding=vectors
        )
        log.info("embeddings: %s, %d of %d numbers", path, *vectors.shape)
        if len(files) == 2 and all(Path(file).is_file() for file in files):  # not two frames of a film
            compare_two((Path(files[0]), Path(files[1])), vectors, threshold_of(self.threshold, figures), output)
