"""Runs the command line as `python -m fastws`."""

import sys

from fastws_server import main

sys.exit(main())
