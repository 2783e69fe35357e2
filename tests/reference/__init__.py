"""Slow, obvious references that the Rust folds are compared with."""
