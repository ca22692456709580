"""The processes of a run from outside.

command.py          what is typed to start them
children.py         started, asked to stop, and what they ended with
agent.py            accelerate's launcher, which says which rank failed first
interruption.py     being asked to stop, from inside
outcome.py          what a run ended with, for the process that waited
out_of_memory.py    going on with half the mini-batch
visible_gpus.py     the GPUs that a process may use
"""
