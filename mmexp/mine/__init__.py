"""Hard-negative mining: which pages does an embedder take for the answer, though they are not?

    __main__.py      python -m mmexp.mine
    settings.py      the experiment, and what mining takes beside it
    mining.py        one mining, top to bottom
    candidates.py    which pages may be mined, and which belong to one document
    embeddings.py    embeddings on disk, in shards that are written whole or not at all
    search.py        the nearest candidates of every query, below what its positive scores
    miner.py         from embeddings to rows of negatives
    report.py        what is said of it

What comes out is read by `data.negatives` (mmexp/data/negatives.py).
"""
