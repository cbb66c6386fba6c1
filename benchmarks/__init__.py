"""How fast the suite is. ``python -m benchmarks`` runs every row, ``python -m benchmarks ROW`` one."""
