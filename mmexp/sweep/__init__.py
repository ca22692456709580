"""Sweeps: runs that differ in a few values, which go on where they stopped.

    settings.py      what a sweep takes: its name, and how many members run at once
    names.py         what tells members apart: a label, and a hash of what changes a result
    folder.py        which members there are, run where they are not finished, and what came out
    member.py        one member in its folder
    lock.py          one parent at a time
    side_by_side.py  members as child processes of this machine
    shares.py        the machine, cut into equal parts
    table.py         what is shown at the end

Hydra's sweepers come in by plugins/hydra_plugins/; where members run is the launcher's (mmexp/launchers/).
"""
