"""Data sets of images, and the loaders that read them."""
