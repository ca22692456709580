"""Plans: what a training would take, before it is paid for. No weights are read, and no GPU is needed.

settings.py       what a plan is told of the machine
planning.py       one plan, top to bottom
weightless.py     models without their weights
preparation.py    what a run prepares before its first step, without weights
stand_ins.py      rows and teachers in place of those that cannot be read
batch.py          a batch like those of the data
tracker.py        what a computation without content would hold, and compute
step.py           one training step, traced
gpu_kernels.py    what a GPU computes otherwise than a CPU
memory.py         what each process holds, by engine
communication.py  what each process sends in a step
schedule.py       steps, evaluations, checkpoints
disk.py           what is left on disk
cost.py           seconds, energy, CO2
report.py         what is printed
sweep.py          the plans of a sweep's members, and their sum
"""
