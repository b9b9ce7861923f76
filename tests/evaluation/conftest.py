"""Fixtures of the evaluation's tests."""

from evaluation.toys import toys

__all__ = ["toys"]
