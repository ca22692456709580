"""Train and finetune multimodal embedding and reranker models: composed, measured, repeatable."""

__version__ = "0.1.0"
