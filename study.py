#!/usr/bin/env python3
"""xtts-study: the hyperparameters of XTTS-v2 fine-tuning, searched, proven and exported."""

import sys

if not sys.platform.startswith("linux"):
    print("study.py: needs Linux: on Windows use WSL 2, on macOS a Linux container or machine", file=sys.stderr)
    sys.exit(2)

from search.commands.group import main

if __name__ == "__main__":
    main()
