"""Searches while references come and go."""

import threading

from harness import enrol_phantoms

from app.domain import Labels
from app.search.answer import ImageQuery, Wish


def test_a_search_among_removals_gives_all_it_was_asked_for(service, phantoms, query_file):
    enrol_phantoms(service, phantoms)
    keys = sorted(service.catalogue.all_ids())
    query = ImageQuery(query_file.read_bytes())
    nearest = [found.reference.id for found in service.finder.find(query, Wish(k=60)).neighbours]
    started, done, short = threading.Event(), threading.Event(), []

    def remove():
        started.wait()
        for key in nearest[:40]:  # from the nearest on: each removal hits what searches are about to score
            service.catalogue.remove([key])
        done.set()

    def search():
        while not done.is_set():
            answer = service.finder.find_like(keys[-1], Wish(k=10))
            started.set()
            if len(answer.neighbours) < 10:
                short.append(answer.library.version)

    keys = [key for key in keys if key not in nearest[:40]]
    threads = [threading.Thread(target=remove), *(threading.Thread(target=search) for _ in range(3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert short == []


def test_what_is_removed_or_relabelled_is_so_in_the_next_search(service, phantoms, query_file):
    enrol_phantoms(service, phantoms)
    query = ImageQuery(query_file.read_bytes())
    for _ in range(5):
        first, second = (found.reference.id for found in service.finder.find(query, Wish(k=2)).neighbours)
        service.catalogue.update(second, Labels(organ="renamed"), {})
        service.catalogue.remove([first])
        (nearest,) = service.finder.find(query, Wish(k=1)).neighbours
        assert (nearest.reference.id, nearest.reference.labels.organ) == (second, "renamed")
