"""Drawn faces: of parameters, so that attributes and identities are known."""
