"""What a teacher or a model wrote is inert in the built page, whatever it wrote."""

import json
import re

import pytest
from bs4 import BeautifulSoup

MARK = "window.planted"


@pytest.fixture(scope="module")
def soup(planted_page):
    return BeautifulSoup(planted_page.read_text(), "html.parser")


@pytest.fixture(scope="module")
def searchable(soup):
    """Return the script of the searchable table and its rows, as the browser reads them."""
    [script] = [script.string for script in soup.find_all("script") if "data_json" in script.text]
    return script, json.loads(json.loads(re.search(r'"data_json": (".*"),$', script, re.MULTILINE)[1]))


def test_no_element_no_attribute_and_no_link_comes_from_a_text(soup):
    assert not soup.find_all("img", src=re.compile("^[xy]$"))
    for element in soup.find_all(lambda tag: tag.name != "meta"):  # its description is text, never run
        assert not any(MARK in str(value) for value in element.attrs.values()), element.name
    assert {len(element.attrs) for element in soup.find_all("meta", content=re.compile(re.escape(MARK)))} == {
        2
    }
    assert not [
        script for script in soup.find_all("script") if MARK in script.text and "data_json" not in script.text
    ]


def test_the_texts_are_there_verbatim(soup):
    visible = [
        soup.find("pre", class_="untrusted").text,
        soup.find("table", class_="dataframe").text,
        soup.find("section").find("p").text,
    ]
    for text in visible:  # a page sets its own quotes in prose
        assert (
            "<script>window.planted = 1</script></script></pre></table> [a "
            "link](javascript:window.planted=1) {{ 7 * 7 }} $$x^2$$ `code` <!" in text
        )


def test_no_formula_is_read_into_a_text(soup):
    assert not soup.find_all(class_="math")
    assert "mathjax" not in str(soup).lower().replace("mathjax_ignore", "")


def test_rows_of_a_searchable_table_hold_line_breaks_and_no_other_element(searchable):
    script, rows = searchable
    assert script.rstrip().endswith("})();")  # a planted </script> has not ended it
    assert [row[-1] for row in rows] == ["1.50"] * 4
    cells = [cell for row in rows for cell in row if isinstance(cell, str)]
    assert sum(MARK in cell for cell in cells) == 4
    for text in [*cells, json.loads(re.search(r'"table_html": (".*"),$', script, re.MULTILINE)[1])]:
        assert {tag.name for tag in BeautifulSoup(text, "html.parser").find_all(True)} <= {
            "br",
            "table",
            "thead",
            "tr",
            "th",
        }
