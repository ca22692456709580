"""Trackio's dashboard as mmexp shows it: on this machine alone, with the comparison of the runs as its first run."""
