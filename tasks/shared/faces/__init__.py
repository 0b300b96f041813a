"""Faces: CelebA, LFW, anybody's folders, unlabelled pictures, drawn samples."""
