"""What the processes of a run do together.

ranks.py           what they tell each other
rank_batches.py    batches of all of them, dealt out
gathered.py        losses that rank or mine over the whole batch
ddp.py             DistributedDataParallel around a model of several columns
rank_trainer.py    checkpoints of several processes
sharding.py        split weights, whole again to be saved
"""
