"""Styles for terminals. Red and magenta can be read on white and on black, in the usual palettes.

Yellow, green and cyan vanish on white, blue on black, and dim text on either.
"""

BEST = "bold"
WARNING = "magenta"  # also an evaluation that rose
FAILED = "red"
