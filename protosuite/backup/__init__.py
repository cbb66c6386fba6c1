"""``protosuite-backup``: a running suite into one file, that file checked, and a data folder made from it.

A backup is a plain tar. In this order::

    backup.json          format, version, schema, created_at
    protosuite.sqlite3   one state of the database, no older than created_at
    media/ab/cd…         every file that a message in it names, by hash
    manifest.json        all of these, with size and SHA-256

``archive`` writes and reads such a tar and nothing else, ``packing`` fills one. ``manifest`` has the texts of
the two JSON files. ``snapshot`` copies the database while others write to it, ``contents`` looks into a copy.
``making``, ``examining`` and ``restoring`` are the three things that ``cli`` does, with ``progress`` for
whoever waits.
"""
