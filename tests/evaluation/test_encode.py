"""Encoding both sides with one set of workers."""

from __future__ import annotations

import pytest
import torch

from mmexp.data.cells import Values
from mmexp.evaluation.encode import Encoder, Side
from mmexp.models.tiny_vlm import TinyVlm
from mmexp.schema import ConfigError


class Broken(Values):
    def __getitem__(self, index):
        raise ConfigError("this page is broken")


@pytest.fixture(scope="module")
def model():
    return TinyVlm(hidden_size=32, num_layers=1, vision_hidden_size=32, vision_num_layers=2).build()


def test_each_side_has_its_own_prompt_and_order(model):
    model.prompts = {"query": "find: ", "document": ""}
    texts = [f"text {n}" for n in range(7)]
    cells = Values([str(n) for n in range(7)], texts)
    queries, documents = Encoder(num_workers=1).encode(
        model, Side("query", cells, [6, 0, 3], 2), Side("document", cells, range(7), 4)
    )
    assert (queries.shape, documents.shape) == ((3, 32), (7, 32))
    torch.testing.assert_close(queries, model.encode_query([texts[n] for n in (6, 0, 3)], convert_to_tensor=True))
    torch.testing.assert_close(documents, model.encode_document(texts, convert_to_tensor=True))
    assert not torch.equal(queries[1], documents[0])


def test_a_failure_leaves_training_mode_and_threads_as_they_were(model):
    model.train()
    threads = torch.get_num_threads()
    with pytest.raises(ConfigError, match="this page is broken"):
        Encoder(num_workers=1).encode(model, Side("document", Broken(["a"], ["b"]), [0], 1))
    assert model.training
    assert torch.get_num_threads() == threads
