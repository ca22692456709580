"""Tokens of inputs with and without an attention mask."""

from __future__ import annotations

import torch

from mmexp.training.tokens import tokens_of_each


def test_padding_is_not_counted_and_flattened_inputs_are_taken_apart():
    assert tokens_of_each({"attention_mask": torch.tensor([[1, 1, 0], [1, 1, 1]])}, None).tolist() == [2, 3]
    assert tokens_of_each({"cu_seq_lens_q": torch.tensor([0, 2, 7])}, None).tolist() == [2, 5]
    assert tokens_of_each({"input_ids": torch.zeros(7), "offsets": torch.tensor([0, 2])}, None).tolist() == [2, 5]


def test_inputs_without_a_mask_count_as_their_positions_or_patches_or_as_one():
    assert tokens_of_each({"modality": "text", "input_ids": torch.zeros(2, 7)}, None).tolist() == [7, 7]
    assert tokens_of_each({"pixel_values": torch.zeros(3, 3, 32, 48)}, 16).tolist() == [6, 6, 6]
    assert tokens_of_each({"pixel_values": torch.zeros(3, 3, 32, 48)}, None).tolist() == [1, 1, 1]
    assert tokens_of_each({"input_features": torch.zeros(2, 1, 100, 64)}, 16).tolist() == [1, 1]
