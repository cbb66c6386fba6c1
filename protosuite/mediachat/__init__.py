"""mediachat.v1: text, voice, pictures and video between a client and the people who answer.

``hours`` says when what is taken.
"""
