"""Losses: each trains, is measured and loaded again; values equal the library's; what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from datasets import Image as ImageFeature
from datasets import Value
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses as library

from mmexp.data.hub_columns import HubColumns
from mmexp.data.made_up_pages import MadeUpPages
from mmexp.data.pairs import Direction, Rows, judged, training_examples
from mmexp.evaluation.encode import Encoder
from mmexp.losses.distillation import MarginMse
from mmexp.losses.gist import CachedGist, Gist
from mmexp.losses.mnrl import CachedMnrl, Interaction, Mnrl, PartitionMode
from mmexp.models.hub import HubModel
from mmexp.models.tiny_vlm import TinyVlm, write_checkpoint
from mmexp.reranker_archs.any_to_any import AnyToAny
from mmexp.schema import ConfigError
from mmexp.training.teacher import Teacher
from tests.conftest import png, write_config, write_readme
from tests.loss_options import EMBEDDER_LOSSES, with_what_it_needs
from tests.test_run import QUICK, SMALL, evaluated_again, experiment_of, losses_of, run_in

TINY = {"num_layers": 1, "vision_hidden_size": 32, "vision_num_layers": 2}
STEPS = [*QUICK, "trainer.eval_strategy=no", "trainer.save_strategy=no"]
PAGES = ["data.num_train_pages=20", "data.num_eval_pages=10"]
PIXELS = {"min_pixels": 1024, "max_pixels": 128 * 160}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """Another model of the student's size, with other weights."""
    folder = tmp_path_factory.mktemp("teacher")
    write_checkpoint(TinyVlm(hidden_size=32, weights_seed=1, **TINY), folder)
    return folder


@pytest.fixture(scope="module")
def large_teacher(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("large_teacher")
    write_checkpoint(TinyVlm(hidden_size=64, weights_seed=1, **TINY), folder)
    return folder


def write_labelled(folder: Path, labels: list[object], kind: str = "float32") -> Path:
    """Pairs of a query and a page with a label; a query has two pages, one after the other."""
    columns = {
        "query": [f"which page is {n // 2}" for n in range(len(labels))],
        "image": [{"bytes": png(n), "path": None} for n in range(len(labels))],
        "label": labels,
    }
    write_config(folder, "train", columns, {"query": Value("string"), "image": ImageFeature(), "label": Value(kind)})
    write_readme(folder, ["train"])
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    """24 pairs: of the two pages of a query, the second answers it."""
    return write_labelled(tmp_path_factory.mktemp("labelled"), [n % 2 for n in range(24)])


LABELLED = ["data=hub_columns", "data.label_column=label", "data.num_negatives=0", "data.num_eval_queries=4"]


@pytest.mark.parametrize("loss", EMBEDDER_LOSSES)
def test_every_loss_trains_an_embedder_that_is_loaded_again_as_it_was_saved(loss, teacher, labelled, tmp_path):
    chosen = with_what_it_needs(loss, teacher, labelled)
    data = ["data.num_eval_queries=4"] if "data=hub_columns" in chosen else PAGES
    overrides = ["+experiment=vdr_tiny", "dims=halves", *chosen, *SMALL, *STEPS, *data]
    result = run_in(tmp_path / "train", *overrides)
    found = losses_of(tmp_path / "train" / "run")
    assert [step for step, _ in found] == [1, 2]
    assert found[0][1] > 0
    again = evaluated_again(tmp_path / "again", tmp_path / "train" / "run", overrides)
    assert again["final"] == pytest.approx(result["final"], abs=1e-6)
    assert again["by_dim"].keys() == {"32", "16", "8", "4", "2"}


TEXTS = [["a b", "c", "d e f"], ["b a", "c d e", "f"], ["g", "h", "i j"]]


@pytest.fixture(scope="module")
def model() -> SentenceTransformer:
    return TinyVlm(hidden_size=32, **TINY).build()


def value_and_gradient(model, loss, labels=None, columns=3) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    value = loss([dict(model.preprocess(column)) for column in TEXTS[:columns]], labels)
    value.backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return value.item(), torch.cat(gradients)


def assert_equal(found: tuple[float, torch.Tensor], expected: tuple[float, torch.Tensor]) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("columns", [2, 3])
@pytest.mark.parametrize("option", ["symmetric", "cached_symmetric"])
def test_symmetric_is_the_librarys_symmetric_loss(model, tmp_path, option, columns):
    loss = experiment_of(tmp_path, "+experiment=vdr_tiny", f"loss={option}").loss
    expected = value_and_gradient(model, library.MultipleNegativesSymmetricRankingLoss(model), columns=columns)
    assert_equal(value_and_gradient(model, loss.build(model), columns=columns), expected)


@pytest.mark.parametrize("dims", [None, [32, 8]])
@pytest.mark.parametrize("config", [Gist, CachedGist])
@pytest.mark.parametrize("options", [{}, {"margin": 0.1, "contrast_positives": False}])
def test_guided_losses_and_gradients_are_the_librarys(model, teacher, config, options, dims):
    guide = HubModel(checkpoint=str(teacher)).build()

    def wrapped(loss):
        return library.MatryoshkaLoss(model, loss, dims) if dims else loss

    expected = value_and_gradient(model, wrapped(library.GISTEmbedLoss(model, guide, **options)))
    unguided = value_and_gradient(model, wrapped(library.GISTEmbedLoss(model, model, **options)))
    assert expected[0] != unguided[0]  # the guide matters, or the claim is empty
    embeddings = torch.stack([guide.encode(column, convert_to_tensor=True) for column in TEXTS], dim=1)
    loss = config(guide=HubModel(checkpoint=str(teacher)), **options).build(model)
    assert_equal(value_and_gradient(model, wrapped(loss), labels=embeddings.unsqueeze(2)), expected)


@pytest.fixture
def examples():
    split = MadeUpPages(num_train_pages=10, num_eval_pages=5, num_negatives=2, width=64, height=64).build().train
    return training_examples(split)


def test_what_a_teacher_makes_of_the_rows_is_computed_once_and_comes_with_each(teacher, examples, tmp_path, caplog):
    caplog.set_level("INFO")
    config = HubModel(checkpoint=str(teacher), **PIXELS)

    def new_teacher() -> Teacher:
        return Teacher(MarginMse(teacher=config), 32, Encoder(num_workers=1), 4096, tmp_path)

    expected = config.build()
    labels = new_teacher().embeddings(examples)
    examples.labels = labels
    row = examples.dataset()[3]
    torch.testing.assert_close(row["label"][0], expected.encode_query(row["query"], convert_to_tensor=True))
    pages = [row[name] for name in ("positive", "negative_0", "negative_1")]
    torch.testing.assert_close(row["label"][1:], expected.encode_document(pages, convert_to_tensor=True))
    assert "found what loss.teacher makes" not in caplog.text

    scores = new_teacher().scores(examples)
    assert "found what loss.teacher makes" in caplog.text
    assert scores[3] == pytest.approx((row["label"][1:] @ row["label"][0]).tolist(), abs=1e-5)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


def test_a_reranker_teaches_by_its_logits_with_its_prompt(teacher, examples, tmp_path):
    reranker = HubModel(checkpoint=str(teacher), **PIXELS).build_reranker(AnyToAny(), {"text_to_image": "Match?"})
    reranker.save_pretrained(str(tmp_path / "reranker"))
    config = HubModel(checkpoint=str(tmp_path / "reranker"))
    assert config.is_reranker()
    scores = Teacher(MarginMse(teacher=config), 32, Encoder(num_workers=1), 4096, tmp_path).scores(examples)
    row = examples.dataset()[3]
    pairs = [(row["query"], row[name]) for name in ("positive", "negative_0", "negative_1")]
    expected = reranker.predict(pairs, prompt_name="text_to_image", activation_fn=torch.nn.Identity())
    assert scores[3] == pytest.approx(expected.tolist(), abs=1e-4)
    assert abs(expected[0] - expected[1]) > 1e-4


def test_a_smaller_student_learns_embeddings_through_a_projection(large_teacher, tmp_path):
    common = ["+experiment=vdr_tiny", "dims=none", "loss=embed_distill", f"loss.teacher.checkpoint={large_teacher}"]
    common += [*SMALL, *STEPS, *PAGES]
    with pytest.raises(ConfigError, match=r"of 64 dimensions, and the model of 32: .*Use loss\.projection_dim=64"):
        run_in(tmp_path / "refused", *common)
    result = run_in(tmp_path, *common, "loss.projection_dim=64")
    assert result["status"] == "finished"
    assert result["seconds"]["teacher"] > 0


def test_a_teacher_that_is_no_embedder_has_no_embeddings(teacher, tmp_path):
    reranker = HubModel(checkpoint=str(teacher)).build_reranker(AnyToAny(), {})
    reranker.save_pretrained(str(tmp_path / "reranker"))
    common = ["+experiment=vdr_tiny", "dims=none", "loss=embed_distill", *SMALL, *STEPS, *PAGES]
    with pytest.raises(ConfigError, match=r"loss\.teacher is a reranker.*loss=margin_mse"):
        run_in(tmp_path, *common, f"loss.teacher.checkpoint={tmp_path / 'reranker'}")


def test_labels_of_the_data_replace_drawn_negatives_and_say_what_is_relevant(labelled, tmp_path):
    common = ["+experiment=reranker_tiny", "loss=binary_cross_entropy", *LABELLED, f"data.path={labelled}"]
    common += ["reranking.num_sampled_negatives=0", *SMALL, *STEPS]
    data = experiment_of(tmp_path, *common).data.build()
    columns = training_examples(data.train, Rows.pairs).columns
    assert columns["label"] == [0, 1] * 8
    for split, queries in ((data.train, 8), (data.evaluation, 4)):
        assert len(split.relevant) == queries
        assert len(split.corpus) == 2 * queries
        pages = {split.documents.ids[page] for pages in split.relevant.values() for page in pages}
        assert all(int(page.split("/")[1]) % 2 == 1 for page in pages)
    assert sorted(judged(data.evaluation, Direction.image_to_text).relevant) == sorted(
        page for pages in data.evaluation.relevant.values() for page in pages
    )
    result = run_in(tmp_path, *common)
    assert (result["status"], result["num_queries"]) == ("finished", 4)


def test_contrastive_takes_the_labels_of_the_data(labelled, tmp_path):
    common = ["+experiment=vdr_tiny", "dims=none", "loss=contrastive", *LABELLED, f"data.path={labelled}"]
    assert run_in(tmp_path, *common, *SMALL, *STEPS)["status"] == "finished"


def test_a_label_that_is_neither_0_nor_1_is_named_before_weights_are_read(tmp_path):
    data = write_labelled(tmp_path / "data", [0, 1, 0, 1, 0.5, 1, 0, 1, 0, 1, 0, 1])
    common = ["+experiment=reranker_tiny", "loss=binary_cross_entropy", *LABELLED, f"data.path={data}", *SMALL, *STEPS]
    common += ["model=hub", "model.checkpoint=nobody/none", "trainer.bf16=false", "reranking.num_sampled_negatives=0"]
    common = [override for override in common if not override.startswith(("model.hidden", "model.num", "model.vision"))]
    with pytest.raises(ConfigError, match=r"query 'train-4' and document 'train/4/image' has the label 0\.5"):
        run_in(tmp_path, *common, "data.eval_split=train")


def test_a_batch_holds_no_more_than_all_pairs(tmp_path):
    """20 rows with a negative each are 40 pairs."""
    common = ["+experiment=vdr_tiny", "dims=none", "loss=contrastive", *SMALL, *STEPS, *PAGES]
    with pytest.raises(ConfigError, match="which has 40 examples"):
        run_in(tmp_path, *common, "trainer.per_device_train_batch_size=41")


@pytest.mark.parametrize(("kind", "wrong"), [("string", "yes"), ("float32", None)])
def test_a_label_that_is_no_number_is_named_by_its_row(tmp_path, kind, wrong):
    labels = [wrong if n == 3 else ("1" if kind == "string" else 1.0) for n in range(8)]
    path = write_labelled(tmp_path, labels, kind)
    row = 0 if kind == "string" else 3
    with pytest.raises(ConfigError, match=rf"row {row} of .* data\.label_column=label, which is no number"):
        HubColumns(path=str(path), label_column="label", num_negatives=0).build()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss=triplet", "data.num_negatives=2"], r"Triplet takes 1 negative .*Use data\.num_negatives=1"),
        (
            ["loss=triplet", "data.num_negatives=0"],
            r"Triplet tells a page from its negatives",
        ),
        (["loss=contrastive", "data.num_negatives=0"], r"Contrastive tells a page from its negatives"),
        (["loss=margin_mse", "data.num_negatives=0", "loss.teacher.checkpoint=x"], r"MarginMse tells a page from"),
        (["loss=embed_distill"], r"loss\.teacher\.checkpoint is not set"),
        (["loss=gist"], r"loss\.guide\.checkpoint is not set"),
        ([*LABELLED[:2], "data.path=x", "loss=mnrl"], r"label_column=label would be ignored: Mnrl takes no label"),
        (
            [*LABELLED[:2], "data.path=x", "loss=cosent"],
            r"data\.num_negatives=1 would add pages without a label.*Use data\.num_negatives=0, or",
        ),
        (
            ["loss=embed_distill", "loss.teacher.checkpoint=x", "loss.projection_dim=64"],
            r"loss\.projection_dim=64 projects embeddings of the full size.*dims=none",
        ),
        (["loss=embed_distill", "loss.teacher.checkpoint=x", "loss.distance=l2"], r"Use loss\.distance=cosine"),
        (["loss.directions=[doc_to_query]"], r"Use loss\.directions=\[query_to_doc,doc_to_query\]"),
        (["loss=symmetric", "loss.directions=[query_to_doc,doc_to_doc]"], r"Use loss\.partition_mode=joint"),
        (["loss.hardness_strength=9"], r"loss\.hardness_mode=null with loss\.hardness_strength=9 weights nothing"),
        (["loss.hardness_mode=hard_negatives"], r"loss\.hardness_strength=0 weights nothing"),
        (
            ["loss.hardness_mode=hard_negatives", "loss.hardness_strength=5", "data.num_negatives=0"],
            r"hard_negatives with data\.num_negatives=0 weights nothing",
        ),
    ],
)
def test_what_the_data_or_the_sizes_do_not_give_is_refused_with_the_way_out(tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        experiment_of(tmp_path, "+experiment=vdr_tiny", *overrides)


@pytest.mark.parametrize("loss", ["lambda", "list_net", "plist_mle", "reranker_cached_mnrl"])
def test_a_mini_batch_holds_at_least_one_pair(tmp_path, loss):
    with pytest.raises(ConfigError, match=r"loss\.mini_batch_size=0 is below 1"):
        experiment_of(tmp_path, "+experiment=reranker_tiny", f"loss={loss}", "loss.mini_batch_size=0")


def test_directions_and_hardness_reach_the_library(model):
    config = {
        "directions": [Interaction.query_to_doc, Interaction.doc_to_doc],
        "partition_mode": PartitionMode.joint,
    }
    expected = library.MultipleNegativesRankingLoss(model, directions=("query_to_doc", "doc_to_doc"))
    for loss in (Mnrl(**config), CachedMnrl(**config)):
        assert_equal(value_and_gradient(model, loss.build(model)), value_and_gradient(model, expected))


def test_a_guide_that_cannot_be_reached_is_named_by_its_own_key(tmp_path):
    overrides = ["loss=gist", "loss.guide.checkpoint=nobody/none", *SMALL, *STEPS, *PAGES]
    with pytest.raises(ConfigError, match=r"^loss\.guide\.checkpoint=nobody/none .*cannot be loaded"):
        run_in(tmp_path, "+experiment=vdr_tiny", "dims=none", *overrides)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "failed"
