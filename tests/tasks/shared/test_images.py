"""Pictures in their squares: where they lie, what is beside them, and the way back."""

import pytest
import torch

from tasks.shared.images import GREY, check_resize, fit, fit_scale, fitted_size, square


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((100, 200), (48, 96)),
        ((200, 100), (96, 48)),
        ((37, 37), (96, 96)),
        ((31, 93), (32, 96)),
        ((480, 640), (72, 96)),
        ((3, 2000), (1, 96)),  # never less than a row
    ],
)
def test_the_longer_side_fits(size, expected):
    height, width = size
    assert fitted_size(height, width, 96, "keep_aspect") == expected
    assert fitted_size(height, width, 96, "square") == (96, 96)


@pytest.mark.parametrize("size", [(50, 100), (100, 50), (60, 61), (300, 40)])
def test_a_picture_lies_in_the_upper_left_corner_and_the_rest_is_grey(size):
    image = torch.randint(256, (3, *size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    fitted = fit(image, 64, "keep_aspect")
    assert (fitted.shape, fitted.dtype) == ((3, 64, 64), torch.uint8)
    height, width = fitted_size(image.shape[1], image.shape[2], 64, "keep_aspect")
    assert max(height, width) == 64
    assert (fitted[:, height:] == GREY).all() and (fitted[:, :, width:] == GREY).all()
    assert fitted[:, :height, :width].float().std() > 5
    assert fitted[:, :height, :width].float().mean() == pytest.approx(image.float().mean().item(), abs=3)


def test_square_squashes():
    image = torch.randint(256, (3, 50, 100), dtype=torch.uint8)
    assert torch.equal(fit(image, 64, "square"), square(image, 64))


@pytest.mark.parametrize("resize", ["square", "keep_aspect"])
@pytest.mark.parametrize("size", [(50, 100), (120, 40), (64, 64), (33, 77)])
def test_boxes_go_where_the_pixels_go(size, resize):
    image = torch.zeros(3, *size, dtype=torch.uint8)
    x1, y1, x2, y2 = 8, 4, 36, 30
    image[:, y1:y2, x1:x2] = 255
    fitted = fit(image, 512, resize)  # large, so that blurred edges are thin in its pixels
    scale = fit_scale(image.shape[1], image.shape[2], 512, resize)
    box = torch.tensor([x1, y1, x2, y2]) * scale
    rows, columns = ((fitted[0] > 190).any(dim).nonzero() for dim in (1, 0))
    found = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    torch.testing.assert_close(found.float(), box, rtol=0, atol=6)
    torch.testing.assert_close(box / scale, torch.tensor([x1, y1, x2, y2]).float())


def test_an_unknown_resize_is_named():
    with pytest.raises(ValueError, match=r"task\.resize='pad'; expected one of square, keep_aspect"):
        check_resize("pad", "task.resize")
