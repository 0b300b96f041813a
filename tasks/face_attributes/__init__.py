"""Face attributes, learnt from another network's answers (Sec. 4.5, Table 12)."""
