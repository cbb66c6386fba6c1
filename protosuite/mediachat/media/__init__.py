"""Files of the media chat: how they come in, where they are kept, how they go out.

``upload`` brings the pieces of one to the disk as they come, and ``uploads`` are all of them; ``download``
answers who asks for one over HTTP. These know only what ``interface`` describes. That is either of these,
as ``address`` reads from the setting ``[mediachat] media`` and ``making`` makes it::

    local          folder    files of this node
    a folder       shared    one that several nodes share
    s3://bucket    s3        one upload is ``s3_part``; what S3 is asked is ``bucket``, each call ``asking``

``sweep`` deletes what nobody can want any more.
"""
