"""Scripts that measure. Each prints the figures that the docs quote."""
