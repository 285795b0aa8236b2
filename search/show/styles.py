"""Styles for terminals. Of the eight colours of ANSI these can be read on white and on black, in the usual palettes.

Yellow, green and cyan vanish on white, blue on black; dim text vanishes on either. tests/test_view.py computes it.
"""

BEST = "bold"
WARNING = "magenta"  # an evaluation that rose, too
FAILED = "red"
