"""Evaluation: corpus and queries are encoded once, and everything is scored from that.

model_evaluator.py    what the evaluators of all kinds share              settings.py
evaluate.py           an embedder, at every embedding size
multi_vector.py       a vector for every token, by MaxSim
reranking.py          positives among drawn negatives                  reranking_settings.py
two_stage.py          retrieve, then rerank                            two_stage_settings.py
encode.py             many cells through a model, on all ranks
metrics.py            rankings, and metrics of every query             report.py
output_cache.py       outputs of untrained models, shared by runs      turns.py
"""
