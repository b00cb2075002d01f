from pathlib import Path

from check_words import with_table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data.md"


def test_the_page_lists_what_is_said_now() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page, "run python tests/data/check_words.py docs/data.md"
