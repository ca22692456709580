"""Runs as Slurm jobs: the script, what becomes of it on the nodes, and how a job stands."""
