"""Fine-grained recognition: Stanford Dogs from noisy web data (Sec. 4.3)."""
