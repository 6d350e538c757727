"""The book on one page is written with every node of the pages."""

from types import SimpleNamespace

from helpers.book.onepage import share_nodes


def test_the_builder_of_one_page_knows_the_nodes_of_the_pages_and_keeps_its_own():
    registry = SimpleNamespace(
        translation_handlers={
            "html": {"folded": "as a page", "exercise": "as a page"},
            "singlehtml": {"exercise": "as one page"},
        }
    )
    share_nodes(SimpleNamespace(registry=registry))
    assert registry.translation_handlers["singlehtml"] == {"folded": "as a page", "exercise": "as one page"}
