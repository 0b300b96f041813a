"""An image with the classes that a network sees in it."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from tasks.shared.terminal.escaped import one_line

SHOWN = 3
MOST_ASPECT = 8
SMALLEST = 256  # pixels: an image below it is enlarged, so that the text can be read
RIGHT, WRONG, NEUTRAL = (80, 200, 90), (240, 90, 80), (120, 170, 250)


def draw_prediction(
    image: Image.Image, predictions: Sequence[tuple[str, float]], truth: str | None = None, right: int | None = None
) -> Image.Image:
    """The image with the best three classes below it, a bar each as long as its probability.

    predictions: (name, probability 0 to 1), best first. truth: the right name, written above the bars. right: the index
    of the right prediction, as names need not be unique. Where the truth is known, its bar is green and others are red.
    """
    image = image.convert("RGB")
    if max(image.size) > MOST_ASPECT * min(image.size):  # only the middle of a very long image
        short = MOST_ASPECT * min(image.size)
        left, top = ((side - min(side, short)) // 2 for side in image.size)
        image = image.crop((left, top, image.width - left, image.height - top))
    scale = max(1.0, SMALLEST / min(image.size))
    if scale > 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    size = min(max(14, image.width // 24), 48)
    font = ImageFont.load_default(size=size)
    line, margin = round(1.5 * size), size // 3
    lines = [name for name, _ in predictions[:SHOWN]]
    below = line * (len(lines) + (truth is not None)) + 2 * margin
    sheet = Image.new("RGB", (image.width, image.height + below), (24, 24, 28))
    sheet.paste(image)
    draw = ImageDraw.Draw(sheet)
    y = image.height + margin
    if truth is not None:
        draw.text((margin, y), fit_text(draw, f"is: {truth}", font, image.width - 2 * margin), fill="white", font=font)
        y += line
    for position, (name, probability) in enumerate(predictions[:SHOWN]):
        color = NEUTRAL if truth is None else RIGHT if position == right else WRONG
        draw.rectangle((0, y + 1, round(image.width * probability), y + line - 2), fill=tuple(c // 2 for c in color))
        share = f"{100 * probability:.0f} %"
        wide = draw.textlength(share, font=font)
        draw.text((image.width - wide - margin, y + line // 8), share, fill="white", font=font)
        text = fit_text(draw, name, font, image.width - wide - 3 * margin)
        draw.text((margin, y + line // 8), text, fill="white", font=font)
        y += line
    return sheet


def fit_text(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: float
) -> str:
    """`text` as one line, shortened to `width` pixels."""
    text = one_line(text)
    if draw.textlength(text, font=font) <= width:
        return text
    while len(text) > 1 and draw.textlength(text + "...", font=font) > width:
        text = text[:-1]
    return text + "..."
