"""PlaNet: geolocation as a choice among cells (Sec. 4.4)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from backbone import Backbone
from tasks.planet.cells import Cells
from tasks.planet.dataset import GeotaggedData, PlaceInfo, PlaceTarget
from tasks.planet.draw import draw_belief
from tasks.planet.evaluate import PlaceEvaluator
from tasks.planet.locate import check_answer, locate
from tasks.planet.s2 import Floats
from tasks.shared.errors import UserError
from tasks.shared.network.pooled_task import PooledTask

TOP = 5  # cells that predictions.json lists


class Belief(NamedTuple):
    """What a network believes of a photo: probabilities (C,) float32 of the cells, in their order."""

    probabilities: Tensor


class PlaNet(PooledTask):
    """Global average pooling, dropout and one linear layer over the cells, on the backbone's deepest map.

    The network knows how many cells there are. Where they lie is in `info["cells"]`, as `Cells.plain` has it.

    Args:
        backbone: a module with `feature_info`, `input_mean`, `input_std`, that returns a dict of maps.
        num_classes: cells.
        resolution: side of the square input image in pixels.
        dropout: share of features that training drops.
        label_smoothing: share of the target that goes to the cells beside the right one, in equal parts; a place beside
            it that no cell covers gets none, and a cell without neighbours keeps its all.
        answer, place: how a belief becomes one place, see `tasks.planet.locate.locate`.
        crop, crop_share: how whole images are cut for it, see `tasks.shared.images.crops.center_crop`.

    Raises ValueError for what `PooledHead` refuses, and for values outside their range.
    """

    monitored_metrics = ("within_750km", "within_200km", "within_2500km")
    data_type = "geotagged"
    needs = ("cells",)

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        resolution: int = 224,
        *,
        dropout: float = 0.001,
        label_smoothing: float = 0.0,
        answer: str = "best_cell",
        place: str = "centre",
        crop: str = "short_side",
        crop_share: float = 0.875,
    ):
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"task.label_smoothing={label_smoothing}; expected 0 up to below 1")
        check_answer(answer, place)
        super().__init__(backbone, num_classes, resolution, dropout=dropout, crop=crop, crop_share=crop_share, least=2)
        self.label_smoothing, self.answer, self.place = label_smoothing, answer, place
        self._cells: Cells | None = None

    def loss(self, outputs: Tensor, targets: Sequence[PlaceTarget]) -> dict[str, Tensor]:
        """outputs: logits of the cells (B, C).

        targets: `label` (int) each, and with label smoothing `neighbours`, (K,) int64, the cells beside it.
        """
        logarithms = outputs.float().log_softmax(-1)
        labels = torch.tensor([target["label"] for target in targets], device=outputs.device)
        right = logarithms.gather(1, labels[:, None])[:, 0]
        if self.label_smoothing:
            right = torch.lerp(right, self._beside(logarithms, right, targets), self.label_smoothing)
        return {"cross_entropy": -right.mean()}

    def _beside(self, logarithms: Tensor, right: Tensor, targets: Sequence[PlaceTarget]) -> Tensor:
        """(B,): the mean of `logarithms` (B, C) over the cells beside the right one; its own where there are none."""
        counts = np.array([len(target["neighbours"]) for target in targets])
        rows = torch.from_numpy(np.repeat(np.arange(len(targets)), counts)).to(right.device)
        columns = torch.from_numpy(np.concatenate([target["neighbours"] for target in targets])).to(right.device)
        sums = torch.zeros_like(right).index_add(0, rows, logarithms[rows, columns])
        number = torch.from_numpy(counts).to(right.device)
        return torch.where(number > 0, sums / number.clamp(min=1), right)

    def check_info(self, info: dict[str, Any], source: str) -> None:
        super().check_info(info, source)
        cells = Cells.from_plain(info["cells"], f"{source}: info.cells")
        if len(cells) != self.head.out_features:
            raise UserError(
                f"{source}: info.cells has {len(cells)} cells; expected {self.head.out_features}, as its head"
            )

    def predict(self, outputs: Tensor, sizes: Tensor) -> list[Belief]:
        return [Belief(row) for row in outputs.float().softmax(-1).cpu()]

    def evaluator(self, data: GeotaggedData, info: PlaceInfo) -> PlaceEvaluator:
        cells = self._cells_of(info)
        theirs = data.info.get("cells")
        if theirs is not None and theirs["key"] != cells.key:
            raise UserError(
                f"data.cells: another partition than the network's: its key is {theirs['key']} "
                f"({len(theirs['cells'])} cells), the checkpoint's {cells.key} ({len(cells)} cells). data.cells=null "
                "evaluates with the checkpoint's"
            )
        return PlaceEvaluator(cells, self._places_of)

    def draw(
        self, image: Image.Image, result: Belief, info: PlaceInfo, target: PlaceTarget | None = None
    ) -> Image.Image:
        cells = self._cells_of(info)
        truth = None if target is None else (target["lat"], target["lon"])
        return draw_belief(image, cells, result.probabilities.numpy(), self._places_of(cells, [result])[0], truth)

    def describe(self, result: Belief, info: PlaceInfo) -> dict[str, Any]:
        """The answer, `lat` and `lon` in degrees, and the most probable `cells`: token, centre, probability."""
        cells = self._cells_of(info)
        ((lat, lon),) = self._places_of(cells, [result]).tolist()
        probabilities, labels = result.probabilities.topk(min(TOP, len(cells)))
        best = [
            {"cell": cells.tokens[k], "lat": cells.centres[k, 0].item(), "lon": cells.centres[k, 1].item(),
             "probability": p}
            for k, p in zip(labels.tolist(), probabilities.tolist(), strict=True)
        ]  # fmt: skip
        return {"lat": lat, "lon": lon, "cells": best}

    def _places_of(self, cells: Cells, results: list[Belief]) -> Floats:
        """(B, 2) degrees."""
        return locate(np.stack([r.probabilities.numpy() for r in results]), cells, self.answer, self.place)

    def _cells_of(self, info: PlaceInfo) -> Cells:
        """Read once: of ten thousand cells it takes longer than an answer."""
        if "cells" not in info:
            raise UserError("data.cells: there are no cells to answer with; training makes them, or takes a file")
        if self._cells is None or self._cells.key != info["cells"].get("key"):
            self._cells = Cells.from_plain(info["cells"], "the checkpoint's cells")
        return self._cells
