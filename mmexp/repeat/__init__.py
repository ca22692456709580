"""Repeating a run: the same composition in a new folder, and whether its numbers are the same.

conditions.py    what has changed since: code, packages, data
mark.py          the folder of a repeat told from that of a run
original.py      the run that is repeated, and the composition of its repeat
numbers.py       all the numbers that a run left, but for what it took
agreement.py     those of two runs side by side, and a verdict
table.py         the same in the terminal
"""
