"""One process of several: its rank, its failures, its memory."""
