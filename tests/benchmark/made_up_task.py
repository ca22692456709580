"""A task of mteb as a user would add one: made-up pages, asked for in two languages that share them."""

import datasets
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

from mmexp.data.made_up_pages import MadeUpPages

PAGES = {"num_train_pages": 5, "num_eval_pages": 20}
SEED = 5


class MadeUpPageRetrieval(AbsTaskRetrieval):
    metadata = TaskMetadata(
        name="MadeUpPageRetrieval",
        description="Made-up pages, text query to page.",
        dataset={"path": "made/up", "revision": "1"},
        type="DocumentUnderstanding",
        category="t2i",
        modalities=["text", "image"],
        eval_splits=["test"],
        eval_langs={"english": ["eng-Latn"], "french": ["fra-Latn"]},
        main_score="ndcg_at_5",
    )

    def load_data(self, **_):
        split = MadeUpPages(**PAGES, seed=SEED).build(for_training=False).evaluation
        ids = [split.documents.ids[document] for document in split.corpus]
        pages = [{"bytes": bytes(split.documents.encoded(document)), "path": None} for document in split.corpus]
        features = datasets.Features({"id": datasets.Value("string"), "image": datasets.Image()})
        corpus = datasets.Dataset.from_dict({"id": ids, "image": pages}, features=features)
        relevant = list(split.relevant.items())
        of_language = {"english": relevant[:15], "french": relevant[15:]}
        self.dataset = {subset: {"test": self.part(split, corpus, rows)} for subset, rows in of_language.items()}
        self.data_loaded = True

    @staticmethod
    def part(split, corpus, rows):
        ids = [split.queries.ids[query] for query, _ in rows]
        texts = [split.queries[query] for query, _ in rows]
        relevant = {
            id_: {split.documents.ids[d]: 1 for d in answers} for id_, (_, answers) in zip(ids, rows, strict=True)
        }
        queries = datasets.Dataset.from_dict({"id": ids, "text": texts})
        return {"corpus": corpus, "queries": queries, "relevant_docs": relevant, "top_ranked": None}
