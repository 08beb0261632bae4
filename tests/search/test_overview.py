"""The counts of an overview fit together, whatever happens meanwhile."""

from stores import new, opened_store, sqlite_url

from app.search.overview import Overviews


def test_an_overview_is_of_one_version(tmp_path):
    with opened_store(sqlite_url(tmp_path), tmp_path) as store:
        catalogue = store.open()
        catalogue.put_library("fetal")
        catalogue.add("fetal", [new(1)])
        other, asked = store.open(), []
        counts = catalogue.listing.counts

        def changed_meanwhile(library):
            if not asked:
                other.add("fetal", [new(2)])
            asked.append(library)
            return counts(library)

        catalogue.listing.counts = changed_meanwhile
        overview = Overviews(catalogue).of("fetal")
        assert len(asked) == 2
        assert overview.info.size == sum(overview.labels["organ"].values()) == 2
