"""Lots: the same for a name anywhere, and a fair share."""

import numpy as np

from tasks.shared.data.splits import draw_lots, lot


def test_a_lot_stays_the_same() -> None:
    assert lot("Ada") == lot("Ada") != lot("Bob") and 0 <= lot("") < 1
    assert round(lot("Ada"), 6) == 0.594216, "or splits that are in use would change"
    assert 0.45 < np.mean([lot(str(k)) for k in range(2000)]) < 0.55


def test_a_share_of_the_names_is_drawn_whatever_their_order() -> None:
    names = [f"person {k}" for k in range(50)]
    drawn = draw_lots(names, 0.2)
    assert drawn.sum() == 10
    assert draw_lots(names[::-1], 0.2)[::-1].tolist() == drawn.tolist()
    lots = np.array([lot(name) for name in names])
    assert lots[drawn].max() < lots[~drawn].min()
    assert (draw_lots(names, 0.4) >= drawn).all(), "of a larger share they are part"


def test_the_least_and_the_most() -> None:
    assert draw_lots(["a", "b", "c"], 0.01).sum() == 1 and draw_lots(["a", "b", "c"], 0.0, 0).sum() == 0
    assert draw_lots(["a"], 0.5, 2).all() and len(draw_lots([], 0.5)) == 0 and draw_lots(["a", "\udcff"], 1.0).all()
