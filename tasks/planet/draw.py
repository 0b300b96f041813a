"""A photo beside what a network believes of it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tasks.planet.cells import Cells
from tasks.planet.world_map import prediction_map, to_image

WIDEST = 1.5  # of the photo, in heights of the map
DPI = 80


def draw_belief(
    image: Image.Image,
    cells: Cells,
    probabilities: NDArray[np.float32],
    prediction: Sequence[float],
    truth: Sequence[float] | None = None,
) -> Image.Image:
    """The photo, and beside it the world with the probabilities (C,) of the cells, the answer, and the truth if known.

    prediction, truth: latitude and longitude in degrees.
    """
    world = to_image(prediction_map(cells, probabilities, prediction, truth), DPI)
    box = (round(WIDEST * world.height), world.height)
    photo = ImageOps.contain(image.convert("RGB"), box, Image.Resampling.BICUBIC)
    sheet = Image.new("RGB", (photo.width + world.width, world.height), "white")
    sheet.paste(photo, (0, (world.height - photo.height) // 2))
    sheet.paste(world, (photo.width, 0))
    return sheet
