"""Embedding size and precision: what a smaller index of the pages costs, from one encoding of a run's evaluation data.

runs.py            the runs that can be quantised
encoding.py        the embeddings of the evaluation data by the run's model, encoded once
indexes.py         the corpus as each precision keeps it, and its exact search
search.py          rankings and search times at one size and precision
settings.py        every size and precision, measured
non_inferiority.py what a setting may lose at most, as far as its queries can tell
recommendation.py  the smallest one that is not shown to be worse by more than a margin, and that is shown not to be
report.py          the files, and the table in the terminal
figure.py          NDCG@10 over bytes per page
"""
