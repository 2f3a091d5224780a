"""From a path to a Dataset: which of the formats it is."""

from __future__ import annotations

from pathlib import Path

from minireranker.errors import ConfigurationError

from .dataset import Dataset
from .folder import open_folder
from .pairs import open_pairs

__all__ = ["open_dataset"]


def open_dataset(
    path: str | Path, *, split: str | None = None, only_candidates: bool = False
) -> Dataset:
    """Read a dataset; no picture is opened.

    A folder as BEIR and MTEB have them: ``queries.jsonl`` and ``corpus.jsonl`` (``_id``, and any of
    title, text, image, video; paths from the folder), ``qrels/test.tsv`` or ``qrels.tsv`` (see
    ``read_qrels``), perhaps ``candidates.*`` (see ``read_candidates``) and ``instruction.txt``. Or
    a JSONL file of labelled pairs, as for training: each distinct query and document is one.

    Candidates are those of the candidates file, else a query's judged documents where not all of
    them are relevant, else every document there is. A file named ``top_ranked``, as MTEB has it,
    says which they are; their order counts only with scores. ``split``: which of several qrels;
    None: "test", or the only one; candidates of the same split go with it. ``only_candidates``:
    documents that no query has as a candidate are not kept, which bounds memory where the corpus
    is large.

    Raises ConfigurationError for a path that is no dataset and a split it does not have,
    InputError naming file and line for a row that cannot be understood or an id nobody has.
    """
    place = Path(path)
    if place.is_dir():
        return open_folder(place, split, only_candidates)
    if place.is_file():
        if split is not None:
            raise ConfigurationError(f"split {split!r}: {place} is one file; leave the split out")
        return open_pairs(place)
    raise ConfigurationError(f"{place}: there is no such folder or file; check the path")
