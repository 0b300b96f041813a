"""Lots: the same for a name anywhere, and a fair share."""

import numpy as np

from tasks.shared.data.splits import hash_share, hash_split


def test_a_lot_stays_the_same() -> None:
    assert hash_share("Ada") == hash_share("Ada") != hash_share("Bob") and 0 <= hash_share("") < 1
    assert round(hash_share("Ada"), 6) == 0.594216, "or splits that are in use would change"
    assert 0.45 < np.mean([hash_share(str(k)) for k in range(2000)]) < 0.55


def test_a_share_of_the_names_is_drawn_whatever_their_order() -> None:
    names = [f"person {k}" for k in range(50)]
    drawn = hash_split(names, 0.2)
    assert drawn.sum() == 10
    assert hash_split(names[::-1], 0.2)[::-1].tolist() == drawn.tolist()
    hash_shares = np.array([hash_share(name) for name in names])
    assert hash_shares[drawn].max() < hash_shares[~drawn].min()
    assert (hash_split(names, 0.4) >= drawn).all(), "of a larger share they are part"


def test_the_least_and_the_most() -> None:
    assert hash_split(["a", "b", "c"], 0.01).sum() == 1 and hash_split(["a", "b", "c"], 0.0, 0).sum() == 0
    assert hash_split(["a"], 0.5, 2).all() and len(hash_split([], 0.5)) == 0 and hash_split(["a", "\udcff"], 1.0).all()
