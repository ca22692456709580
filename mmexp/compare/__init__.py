"""Comparing runs: which is better, by how much, at what cost, and whether it is real.

runs.py          run folders, found and read
scores.py        the scores of every query
settings.py      runs that are equal but for the seed, and what tells settings apart
alignment.py     the queries on which all are compared, or why they cannot be
cost.py          what a setting took
comparison.py    all of it, ranked
table.py         the comparison in the terminal
files.py         the comparison in a folder
report/          the comparison as a page, with figures, single queries and breakdowns
"""
