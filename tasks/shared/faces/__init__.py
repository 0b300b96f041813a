"""Faces: CelebA, LFW, anybody's folders, unlabelled images, drawn samples."""
