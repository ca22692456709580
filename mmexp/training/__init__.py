"""Training: the library's trainer, composed.

fit.py             one training, from its newest checkpoint on
arguments.py       the library's arguments, checked, and what mmexp decides
callbacks.py       counting, logging, evaluating, stopping             checkpoints.py
sampler.py         batches without duplicates, by id                   packing.py
mini_batches.py    the model's forward, cut and recomputed             tokens.py
tuning.py          what training moves                                 parts.py
teacher.py         what another model makes of the rows                guided.py
save.py            what is kept of the trained model
"""
