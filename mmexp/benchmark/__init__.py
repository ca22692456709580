"""Benchmarks of mteb: its tasks and its scores, around embeddings that are made as any evaluation here makes them.

settings.py    which benchmark, and what of it
tasks.py       the tasks that they name
splits.py      the data of tasks: every distinct document once, whatever its languages
reading.py     reading it
embedded.py    what a model has made of a task, as mteb asks a model for it
scoring.py     mteb's scores, over all and by query
evaluator.py   task by task; mmexp/kinds.py makes it
"""
