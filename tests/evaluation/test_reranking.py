"""Rerankers: parity with the published form, negatives, losses, saving, and what is refused."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, Value
from PIL import Image
from pyarrow import parquet
from sentence_transformers import CrossEncoder

from mmexp.data.made_up_pages import MadeUpPages
from mmexp.data.pairs import Direction, Rows, judged, training_examples
from mmexp.evaluation.reranking import draw_candidates
from mmexp.evaluation.reranking_settings import Reranking
from mmexp.losses.reranker_losses import BinaryCrossEntropy
from mmexp.models.hub import HubModel
from mmexp.models.tiny_vlm import TinyVlm, write_checkpoint
from mmexp.reranker_archs.any_to_any import AnyToAny
from mmexp.reranker_archs.chat_template import accept_roles
from mmexp.reranker_archs.feature_extraction import FeatureExtraction
from mmexp.schema import ConfigError
from tests.conftest import page, write_config, write_readme
from tests.loss_options import RERANKER_LOSSES, with_what_it_needs
from tests.test_run import QUICK, SMALL, assert_losses_equal, evaluated_again, experiment_of, losses_of, run_in

ARCHS = ["any_to_any", "feature_extraction"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_checkpoint(TinyVlm(hidden_size=32, num_layers=1, vision_hidden_size=32, vision_num_layers=2), folder)
    return folder


def materialised(dataset: Dataset) -> Dataset:
    """The rows of a lazily resolved data set as a plain one."""
    rows = [dataset[n] for n in range(len(dataset))]
    return Dataset.from_dict({name: [row[name] for row in rows] for name in dataset.column_names})


@pytest.mark.parametrize("arch", ARCHS)
def test_losses_and_metrics_equal_those_of_the_published_form(checkpoint, vdr_columns, tmp_path, arch):
    from tests.evaluation.reference_reranker import reference_reranking

    directions = ["image_to_text", "text_to_image"]
    arguments = {
        "num_train_epochs": 1,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-3,
        "warmup_steps": 0.1,
        "logging_steps": 1,
        "eval_strategy": "no",
        "seed": 5,
    }
    overrides = [
        "+experiment=vdr_reranker_2b",
        f"reranker_arch={arch}",
        "model=hub",
        f"model.checkpoint={checkpoint}",
        "model.min_pixels=1024",
        f"model.max_pixels={128 * 160}",
        f"data.path={vdr_columns}",
        "data.num_negatives=1",
        "reranking.num_sampled_negatives=2",
        "reranking.num_eval_negatives=3",
        f"reranking.directions=[{','.join(directions)}]",
        "seed=5",
        "tracking=none",
        "trainer.bf16=false",
        "trainer.save_strategy=no",
        *[f"trainer.{key}={value}" for key, value in arguments.items() if key != "seed"],
    ]
    experiment = experiment_of(tmp_path, *overrides)
    data = experiment.data.build()
    pairs, samples = {}, {}
    for name in directions:
        pairs[name] = materialised(training_examples(data.train, Rows.pairs, Direction(name), 2, seed=5).dataset())
        view = judged(data.evaluation, Direction(name))
        samples[name] = [
            {
                "query": view.queries[candidates.query],
                "positive": [view.documents[d] for d in candidates.documents[: candidates.num_positives]],
                "negative": [view.documents[d] for d in candidates.documents[candidates.num_positives :]],
            }
            for candidates in draw_candidates(view, 3, random.Random(name))
        ]
    prompts = experiment.reranking.trained_prompts
    expected = reference_reranking(checkpoint, arch, prompts, pairs, samples, tmp_path / "reference", **arguments)

    result = run_in(tmp_path, *overrides)
    assert_losses_equal(tmp_path / "run", expected.losses, num_logged=8)
    for name in directions:
        for stage in ("baseline", "final"):
            for metric, value in getattr(expected, stage)[name].items():
                assert result["by_direction"][name][stage][metric] == pytest.approx(value, abs=1e-6)
    assert expected.final != expected.baseline  # training moved something, or the claim is empty


def test_untrained_feature_extraction_scores_as_the_logits_of_a_tied_head_do(checkpoint):
    model = HubModel(checkpoint=str(checkpoint), min_pixels=1024, max_pixels=128 * 160)
    logit = model.build_reranker(AnyToAny(), {"text_to_image": "Does it match?"})
    dense = model.build_reranker(FeatureExtraction(), {"text_to_image": "Does it match?"})
    pairs = [(f"which page is {n}", page(n)) for n in range(5)]
    scores = logit.predict(pairs, prompt_name="text_to_image", activation_fn=torch.nn.Identity())
    assert np.ptp(scores) > 1e-4  # they differ, or the claim is empty
    np.testing.assert_allclose(
        dense.predict(pairs, prompt_name="text_to_image", activation_fn=torch.nn.Identity()), scores, atol=1e-5
    )
    names = [name for name, _ in dense.named_parameters()]
    assert not any("lm_head" in name for name in names)
    assert any("lm_head" in name or "embed_tokens" in name for name in names)


@pytest.mark.parametrize("loss", RERANKER_LOSSES)
def test_every_loss_trains_a_reranker_that_is_loaded_again_as_it_was_saved(loss, checkpoint, tmp_path):
    arch = ARCHS[RERANKER_LOSSES.index(loss) % 2]
    run = tmp_path / "train"
    overrides = [
        "+experiment=reranker_tiny",
        f"reranker_arch={arch}",
        *with_what_it_needs(loss, teacher=checkpoint, labelled=Path()),
        *SMALL,
        *QUICK,
        "data.num_train_pages=20",
        "data.num_eval_pages=10",
        "reranking.num_eval_negatives=4",
    ]
    result = run_in(run, *overrides)
    assert result["status"] == "finished"
    assert [step for step, _ in losses_of(run / "run")] == [1, 2]
    per_query = parquet.read_table(run / "run" / "per_query" / "final.parquet").to_pylist()
    assert len(per_query) == result["num_queries"] == 10
    assert np.mean([row["ndcg@10"] for row in per_query]) == pytest.approx(result["final"]["ndcg@10"])
    assert all(row["attribute/topic"] in row["query"] for row in per_query)
    assert (run / "run" / "ndcg_by_direction.png").stat().st_size > 0

    again = evaluated_again(tmp_path / "again", run / "run", overrides)
    assert again["final"] == pytest.approx(result["final"], abs=1e-6)
    assert again["baseline"] is None


def test_members_of_a_sweep_share_one_baseline_as_long_as_the_pairs_are_the_same(tmp_path, caplog):
    common = ["+experiment=reranker_tiny", *SMALL, "task=evaluate", "data.num_train_pages=20", "data.num_eval_pages=10"]
    results = []
    caplog.set_level("INFO")
    for n, changed in enumerate(["name=a", "name=b", "reranking.num_eval_negatives=3"]):
        caplog.clear()
        result = run_in(tmp_path, *common, changed)
        results.append(result["final"])
        assert ("found the scores" in caplog.text) == (n == 1)
        assert (result["throughput"] is None) == (n == 1)  # what was found says nothing of the speed
        (tmp_path / "run").rename(tmp_path / f"run-{n}")
    assert results[0] == results[1] != results[2]


def test_a_text_cross_encoder_trains_and_evaluates(tmp_path):
    result = run_in(
        tmp_path,
        "+experiment=reranker_tiny",
        "model=hub",
        f"model.checkpoint={write_bert(tmp_path / 'bert')}",
        "reranker_arch=sequence_classification",
        "loss=binary_cross_entropy",
        "reranking.directions=[text_to_text]",
        "data=hub_columns",
        f"data.path={write_texts(tmp_path / 'texts')}",
        "data.positive_column=answer",
        "data.eval_fraction=0.25",
        "trainer.bf16=false",
        "tracking=none",
        *QUICK,
    )
    assert result["status"] == "finished"
    assert result["by_direction"].keys() == {"text_to_text"}
    saved = CrossEncoder(str(tmp_path / "run" / "model"))
    assert saved.predict([("a", "b")]).shape == (1,)


@pytest.mark.parametrize(
    "kind", [["reranker_arch=sequence_classification"], ["reranker_arch=none", "loss=cached_mnrl"]]
)
def test_a_model_that_does_not_take_the_datas_modality_is_refused_with_what_it_takes(tmp_path, kind):
    bert = write_bert(tmp_path / "bert")
    pooling = ["model.pooling=mean"] if "reranker_arch=none" in kind else []
    with pytest.raises(
        ConfigError, match=r"\(Bert\w+\) cannot take the document 'eval-\d+', which is image: it takes text\."
    ):
        run_in(
            tmp_path,
            "+experiment=reranker_tiny",
            *kind,
            "model=hub",
            f"model.checkpoint={bert}",
            *pooling,
            "tracking=none",
            "trainer.bf16=false",
            "data.num_train_pages=20",
            "data.num_eval_pages=10",
        )


def write_bert(folder: Path) -> Path:
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "question", "answer", *(str(n) for n in range(40))]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertForSequenceClassification(BertConfig(vocab_size=len(words), num_labels=1, **sizes)).save_pretrained(folder)
    return folder


def write_texts(folder: Path) -> Path:
    columns = {"query": [f"question {n}" for n in range(24)], "answer": [f"answer {n}" for n in range(24)]}
    write_config(folder, "train", columns, {name: Value("string") for name in columns})
    write_readme(folder, ["train"])
    return folder


@pytest.fixture(scope="module")
def split():
    return MadeUpPages(num_train_pages=40, num_eval_pages=10, num_negatives=2).build().train


@pytest.mark.parametrize("direction", [Direction.text_to_image, Direction.image_to_text])
def test_negatives_are_drawn_from_the_whole_split_by_the_seed_and_answer_nothing(split, direction):
    view = judged(split, direction)
    rows = training_examples(split, Rows.lists, direction, 30, seed=1).dataset().with_format("arrow")[:].to_pylist()
    hard = 0 if direction is Direction.image_to_text else 2
    drawn = set()
    for row, example in zip(rows, view.examples, strict=True):
        positive, *negatives = row["documents"]
        assert positive in view.relevant[row["query"]]
        assert negatives[:hard] == example.negatives
        assert len(negatives) == len(set(negatives)) == 30 + hard
        assert not view.relevant[row["query"]] & set(negatives)
        assert row["labels"] == [1] + [0] * len(negatives)
        drawn.update(negatives)
    assert drawn == set(view.pool)
    again = training_examples(split, Rows.lists, direction, 30, seed=1).dataset().with_format("arrow")[:].to_pylist()
    other = training_examples(split, Rows.lists, direction, 30, seed=2).dataset().with_format("arrow")[:].to_pylist()
    assert again == rows != other


def test_all_negatives_are_taken_where_there_are_fewer_than_asked_for(split):
    examples = training_examples(split, Rows.lists, Direction.text_to_image, 1000, seed=1)
    assert len(examples.columns["documents"][0]) == len(split.corpus)


def test_pairs_are_one_to_n_with_the_page_on_the_side_of_the_direction(split):
    pairs = training_examples(split, Rows.pairs, Direction.image_to_text, 4, seed=1).dataset()
    assert len(pairs) == 5 * len(split.rows)
    assert sum(pairs.with_format("arrow")[:].column("label").to_pylist()) == len(split.rows)
    first = pairs[0]
    assert isinstance(first["query"], Image.Image)
    assert isinstance(first["document"], str)


class Processor:
    """A processor with a chat template, rendered as transformers renders it."""

    def __init__(self, template: str) -> None:
        self.chat_template = template

    def apply_chat_template(self, messages, **kwargs) -> str:
        from transformers.utils.chat_template_utils import render_jinja_template

        rendered, _ = render_jinja_template([messages], chat_template=self.chat_template, **kwargs)
        return rendered[0]


STRICT = """{% for message in messages %}{% if message.role == "user" %}U:{{ message.content[0].text }}
{% elif message['role'] == 'system' %}S{% else %}{{ raise_exception('unknown role') }}{% endif %}{% endfor %}"""


@pytest.mark.parametrize(
    "template",
    [
        STRICT,
        STRICT.replace('message.role == "user"', "message['role']=='user'"),
        STRICT.replace("{{ raise_exception('unknown role') }}", ""),  # drops what it does not know
    ],
)
def test_a_template_for_users_is_extended_to_queries_and_documents(template):
    processor = Processor(template)
    accept_roles(processor, "x")
    messages = [{"role": role, "content": [{"type": "text", "text": role * 2}]} for role in ("query", "document")]
    assert processor.apply_chat_template(messages).split() == ["U:queryquery", "U:documentdocument"]


def test_a_template_that_writes_any_role_is_left_as_it_is():
    processor = Processor("{% for m in messages %}{{ m.role }}{{ m.content[0].text }}{% endfor %}")
    before = processor.chat_template
    accept_roles(processor, "x")
    assert processor.chat_template == before


def test_a_template_that_cannot_be_extended_is_refused():
    processor = Processor(
        "{% for m in messages %}{% if loop.index0 == 7 %}{{ m.content[0].text }}{% endif %}{% endfor %}"
    )
    with pytest.raises(ConfigError, match=r"model\.checkpoint=x does not write messages of the roles query and"):
        accept_roles(processor, "x")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+reranking.prompts.text_to_audio=Hm?"], "prompts.text_to_audio is a prompt for an unknown direction"),
        (["reranking.directions=[]"], "reranking.directions is empty"),
        (["reranking.directions=[text_to_image,text_to_image]"], "names one twice"),
        (["loss=cached_mnrl"], "CachedMnrl is a loss for embedders"),
        (["reranker_arch=none"], "Lambda is a loss for rerankers"),
        (["dims=halves"], "a reranker has no embedding to cut"),
        (
            ["reranking.num_sampled_negatives=0", "data.num_negatives=0"],
            "tells a page from its negatives",
        ),
        (
            ["reranking.directions=[image_to_text]", "data.num_negatives=4", "reranking.num_sampled_negatives=0"],
            "it would have none with reranking.num_sampled_negatives=0",
        ),
        (["reranking.num_eval_negatives=0"], "reranking.num_eval_negatives=0 is below 1"),
    ],
)
def test_contradictions_are_refused_with_the_way_out(tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        experiment_of(tmp_path, "+experiment=reranker_tiny", *overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["reranker_arch.true_token=a b c"], r"reranker_arch\.true_token=a b c is not a single token.*splits it into"),
        (["reranker_arch.true_token=0"], "are both '0'"),
        (["trainer.prompts=Hm"], r"trainer\.prompts is set by mmexp. Use reranking\.prompts"),
        (["model.pooling=mean"], r"model\.pooling=mean would be ignored"),
    ],
)
def test_what_a_reranker_cannot_be_is_refused(tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        run_in(tmp_path, "+experiment=reranker_tiny", *SMALL, *QUICK, *overrides)


def test_directions_without_a_prompt_go_without():
    assert Reranking(directions=[Direction.text_to_text]).trained_prompts == {}
    assert BinaryCrossEntropy.rows is Rows.pairs
