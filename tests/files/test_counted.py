import pytest

from softgate_ext.files.counted import counted


@pytest.mark.parametrize(
    ("count", "words", "said"),
    [
        (1, "[person|people] [is|are] left out", "1 person is left out"),
        (2, "[person|people] [is|are] left out", "2 people are left out"),
        (0, "picture[s]", "0 pictures"),
        (1, "picture[s]", "1 picture"),
        (1, "limb[s] that lead[s|] nowhere", "1 limb that leads nowhere"),
        (3, "limb[s] that lead[s|] nowhere", "3 limbs that lead nowhere"),
        (1, "categor[y|ies] of [its|their] own", "1 category of its own"),
        (2, "image id[s] stand[s|] for two[| each]", "2 image ids stand for two each"),
        (1, "image id[s] stand[s|] for two[| each]", "1 image id stands for two"),
    ],
)
def test_words_agree_with_their_count(count: int, words: str, said: str) -> None:
    assert counted(count, words) == said
