"""What a run leaves, and what it shows.

record.py          the run folder, complete however the run ends       run_files.py unreadable.py
result.py          what result.json says of the evaluations            result_fields.py
status.py          what a run has come to, by its folder
environment.py     what it can be repeated and explained with
ledger.py          time and energy, by phase                           energy.py node_energy.py
terminal.py        tables                                              figures.py wording.py
upload.py          what leaves this machine, where it is asked for
"""
