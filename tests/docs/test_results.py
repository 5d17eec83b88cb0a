"""Tables of results are what their records say: whole, unedited, and made by today's code."""

import pytest

from benchmarks.result_pages import MARKED, PAGES, ROOT, digest, filled, stale
from benchmarks.result_tables import TABLES

TEXTS = {path.name: path.read_text() for path in sorted(PAGES.glob("*.md"))}
EMPTY = "<!-- filled mixes -->\n<!-- end -->\n"


@pytest.mark.parametrize("page", TEXTS)
def test_no_table_is_stale(page):
    assert not list(stale(TEXTS[page]))


@pytest.mark.parametrize("page", TEXTS)
def test_tables_that_are_quick_to_make_come_out_the_same(page):
    assert filled(TEXTS[page], anew=True) == TEXTS[page]


def test_every_table_is_shown_once():
    assert sorted(found["name"] for text in TEXTS.values() for found in MARKED.finditer(text)) == sorted(TABLES)


def test_every_marker_is_understood():
    assert all(text.count("<!-- filled") == len(MARKED.findall(text)) for text in TEXTS.values())


def test_an_empty_place_is_filled_from_its_record():
    page = filled(f"before\n{EMPTY}after\n")
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert (ROOT / "benchmarks/results/mixes.md").read_text().strip() in page
    assert not list(stale(page))
    assert filled(page) == page


def test_a_figure_changed_by_hand_is_found():
    page = filled(EMPTY)
    assert list(stale(page.replace("47.9", "74.9", 1)))
    assert filled(page.replace("47.9", "74.9", 1)) == page


def test_another_record_is_found():
    page = filled(EMPTY)
    record = digest((ROOT / "benchmarks/results/mixes.md").read_bytes())
    assert list(stale(page.replace(record, "0" * 16)))


def test_a_marker_of_no_table_is_refused():
    with pytest.raises(SystemExit, match="no table nothing: there are"):
        filled("<!-- filled nothing -->\n<!-- end -->\n")
