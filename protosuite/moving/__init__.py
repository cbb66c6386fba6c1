"""``protosuite-migrate``: all that a suite has in SQLite, moved to PostgreSQL.

``copying`` puts the rows over in small transactions, each of which says how far it came: it goes on after
whatever stopped it. ``checking`` compares both sides at the end. ``cli`` is the program.
"""
