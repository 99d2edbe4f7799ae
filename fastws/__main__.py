"""Runs the command line as `python -m fastws`."""

import sys

from fastws.cli import main

sys.exit(main())
