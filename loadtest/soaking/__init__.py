"""The parts of `loadtest/soak.py`."""
