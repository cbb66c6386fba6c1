"""Fuzzing by hand: ``python -m tests.fuzz --help``, or ``make fuzz``."""
