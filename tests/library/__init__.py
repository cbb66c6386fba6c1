"""What a program looks like that uses the suite as a library: for ``mypy --strict``, not to be run."""
