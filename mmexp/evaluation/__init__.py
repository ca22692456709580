"""Measuring a model, by kind: evaluate.py (embedders), multi_vector.py, reranking.py, two_stage.py."""
