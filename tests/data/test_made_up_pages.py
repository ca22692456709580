from collections import Counter

import pytest

from mmexp.data.made_up_pages import ASKED, SIBLINGS, MadeUpPages
from mmexp.data.page_drawing import TOPICS
from mmexp.schema import ConfigError


def asked(content) -> tuple[str, ...]:
    return tuple(getattr(content, name) for name in ASKED)


@pytest.fixture(scope="module")
def data():
    return MadeUpPages(num_train_pages=300, num_eval_pages=100, num_negatives=4, seed=3).build()


def test_train_and_evaluation_share_no_page_and_no_combination(data):
    train, evaluation = data.train.documents, data.evaluation.documents
    assert not {asked(c) for c in train.contents} & {asked(c) for c in evaluation.contents}
    digests = [{cells.digest(n) for n in range(len(cells))} for cells in (train, evaluation)]
    assert not digests[0] & digests[1]
    assert (len(digests[0]), len(digests[1])) == (300, 100)


def test_every_question_is_true_of_one_page_only(data):
    for split in (data.train, data.evaluation):
        assert max(Counter(asked(content) for content in split.documents.contents).values()) == 1
        for row in split.rows:
            content = split.documents.contents[row.positive]
            question = split.queries[row.query].lower()
            assert all(value.lower() in question for value in asked(content))


def test_hard_negatives_differ_in_exactly_one_thing(data):
    for row in data.evaluation.rows:
        contents = data.evaluation.documents.contents
        positive = asked(contents[row.positive])
        assert len(row.negatives) == SIBLINGS - 1
        for negative in row.negatives:
            assert sum(a != b for a, b in zip(positive, asked(contents[negative]), strict=True)) == 1


def test_the_seed_decides_every_page(data):
    again = MadeUpPages(num_train_pages=300, num_eval_pages=100, num_negatives=4, seed=3).build()
    other = MadeUpPages(num_train_pages=300, num_eval_pages=100, num_negatives=4, seed=4).build()
    assert again.fingerprint() == data.fingerprint() != other.fingerprint()


def test_pages_are_of_the_size_asked_for():
    page = MadeUpPages(num_train_pages=5, num_eval_pages=5, width=256, height=320).build().train.documents[0]
    assert page.size == (256, 320)
    assert len(page.getcolors(1 << 20)) > 20


@pytest.mark.parametrize("key", ["width", "height"])
def test_pages_without_room_for_their_title_are_refused_and_all_others_are_drawn(key):
    for size in (0, 63):
        with pytest.raises(ConfigError, match=rf"data\.{key}={size} is below 64\. Use 64 or more"):
            MadeUpPages(**{key: size})
    pages = MadeUpPages(num_train_pages=50, num_eval_pages=5, **{"width": 64, "height": 64, key: 300}).build().train
    assert {content.topic for content in pages.documents.contents} == set(TOPICS)
    assert all(len(pages.documents.encoded(index)) > 100 for index in range(50))


@pytest.mark.parametrize("count", [0, 12])
def test_counts_that_make_no_families_are_refused(count):
    with pytest.raises(ConfigError, match=rf"data\.num_train_pages={count} is no multiple of 5"):
        MadeUpPages(num_train_pages=count)
