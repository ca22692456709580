"""Means and differences over queries and seeds: how sure they are.

means.py        means and paired differences, with intervals, tests and Holm's correction
bootstrap.py    intervals of means over queries
seeds.py        what seeds add to them
spread.py       how much seeds may matter, told by all settings together
sign_flip.py    the test of a difference by flipping signs
strata.py       queries of parts whose sizes are fixed: directions, tasks
"""
