"""Tests of whole processes: ``trial tests`` from the root of the checkout.

``processes`` runs the suite and its programs, ``peers`` are connections to it, ``requirements`` says what
else the machine must have.
"""
