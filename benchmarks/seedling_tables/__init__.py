"""The tables of `benchmarks/seedling.py`, one module each, and the songs that they measure."""
