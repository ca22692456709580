"""Training: the library's trainer with its arguments, batches, callbacks and checkpoints. fit.py comes first."""
