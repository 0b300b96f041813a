"""The paper's tables beside ours, and what any run of this toolkit costs."""
