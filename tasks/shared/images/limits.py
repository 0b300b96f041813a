"""How large an image may be before any of it is decoded: the key `max_megapixels`, for the whole process."""

from tasks.shared.errors import UserError

KEY = "max_megapixels"
DEFAULT = 180.0  # what the largest cameras of one exposure take, with some to spare; PIL refuses more too
MOST_BYTES = 8  # of a file, for each pixel that is allowed: RGBA of 16 bits, not compressed
MARGIN = 1 << 24  # bytes of a file beside its pixels: profiles, previews
MOST_SCANS = 50  # of a JPEG: encoders write about 10; each goes through the whole image, in 0.15 s at 180 megapixels
MOST_SLOW = 6.0  # million values of what PIL decodes in Python, one at a time: a million or two a second

_limit = DEFAULT


def set_max_megapixels(megapixels: float) -> None:
    """Let images of up to so many megapixels be decoded in this process, and no larger ones.

    For the command line alone to say: a config that came with a checkpoint must not raise it.
    """
    global _limit
    _limit = float(megapixels)


def max_megapixels() -> float:
    return _limit


def max_pixels() -> int:
    return int(_limit * 1e6)


def check_pixels(name: str, width: int, height: int) -> None:
    """Raise UserError for an image of more pixels than the key allows. name: what the message calls it."""
    if width * height > max_pixels():
        raise UserError(
            f"{name}: is {width * height / 1e6:,.1f} megapixels ({width:,} x {height:,}); more than "
            f"{KEY}={_limit:g} allows. Raise the key if the image is sound"
        )


def check_file_size(name: str, size: int) -> None:
    """Raise UserError for a file, in bytes, that no image of the pixels that the key allows needs."""
    if size > max_pixels() * MOST_BYTES + MARGIN:
        raise UserError(
            f"{name}: is a file of {size / 1e6:,.0f} MB; more than any image takes that {KEY}={_limit:g} allows. "
            "Raise the key if the image is sound"
        )


def check_scans(name: str, scans: int) -> None:
    if scans > MOST_SCANS:
        raise UserError(
            f"{name}: is a JPEG in {scans:,} scans, each of which goes through the whole image; expected up to "
            f"{MOST_SCANS}. Save it anew if it is sound"
        )


def check_slow(name: str, pixels: float, size: int, image_format: str) -> None:
    """Raise UserError for what would be decoded for minutes. pixels: or values; size: of the file in bytes."""
    if max(pixels, size / 4) > MOST_SLOW * 1e6:
        raise UserError(
            f"{name}: is {pixels / 1e6:,.1f} million values in {size / 1e6:,.1f} MB of {image_format}, slow to decode; "
            f"expected up to {MOST_SLOW:g} million in {4 * MOST_SLOW:g} MB. Save it as PNG"
        )


def out_of_memory(name: str) -> UserError:
    """The error for an image for which there was no memory."""
    return UserError(
        f"{name}: there is not enough memory to decode it; a smaller {KEY} (now {_limit:g}) refuses such images, and "
        "fewer data.workers decode fewer at once"
    )


def damaged(name: str, reason: str) -> UserError:
    return UserError(f"{name}: not a readable image, or truncated ({reason})")
