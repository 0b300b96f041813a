"""Pixels as backbones expect them, in whatever layout they lie."""

import pytest
import torch

from tasks.shared.contract import Normalize

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 3, 1, 1), (0, 3, 4, 4), (3, 3, 8, 1)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_every_pixel_less_the_mean_over_the_deviation(layout, shape, dtype):
    images = torch.randint(0, 256, shape, dtype=torch.uint8).to(dtype).contiguous(memory_format=layout)
    given = images.clone()
    normalized = Normalize(MEAN, STD)(images)
    for channel in range(3):
        expected = (images[:, channel].float() - 255 * MEAN[channel]) / (255 * STD[channel])
        torch.testing.assert_close(normalized[:, channel], expected)
    assert normalized.shape == shape and normalized.is_contiguous(memory_format=layout)
    assert torch.equal(images, given), "the caller's stay as they are"


def test_views_that_are_laid_out_otherwise() -> None:
    images = torch.randint(0, 256, (2, 3, 9, 9), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    part = images[:, :, 2:7, 1:5]
    torch.testing.assert_close(Normalize(MEAN, STD)(part), Normalize(MEAN, STD)(part.contiguous()))
