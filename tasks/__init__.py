"""The tasks of the paper's Section 4, one folder each, and in `shared` what two or more of them need."""
