"""``minireranker train mine``: hard negatives for a file of positives."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minireranker.errors import ConfigurationError

if TYPE_CHECKING:
    from minireranker.engine import Document
    from minireranker.retrieval.vector_index import VectorIndex
    from minireranker.train.mining import Search

__all__ = ["mine"]

_Positives = Annotated[list[str], typer.Argument(help="JSONL of pairs, or a dataset folder.")]
_Corpus = Annotated[
    list[str] | None,
    typer.Option("--corpus", help="Folders, patterns and files of documents; with --embedder."),
]
_Embedder = Annotated[
    str | None, typer.Option("--embedder", "-e", help="An embedding checkpoint, who searches.")
]
_Vectors = Annotated[
    Path | None,
    typer.Option("--vectors", metavar="DIR", help="Instead: what index --vectors has made."),
]
_Out = Annotated[Path, typer.Option("--out", "-o", dir_okay=False, help="The JSONL to write.")]


def mine(
    positives: _Positives,
    out: _Out,
    corpus: _Corpus = None,
    embedder: _Embedder = None,
    vectors: _Vectors = None,
    hard: Annotated[int, typer.Option(help="A positive, of the first --depth.", min=0)] = 2,
    random: Annotated[int, typer.Option(help="A positive, of the whole corpus.", min=0)] = 2,
    depth: Annotated[int, typer.Option(help="Documents looked at for hard ones.", min=1)] = 20,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 ...")] = "auto",
) -> None:
    """Write each query with its positives and negatives that a retriever finds and chance gives."""
    from minireranker.train import examples, mining

    settings = mining.MiningSettings(hard, random, depth, seed)
    found = examples.read_examples(positives, to_train=True)
    with ExitStack() as stack:
        if vectors is not None:
            documents, search = _indexed(stack, vectors, embedder, device)
        else:
            documents, search = _embedded(corpus, embedder, device, dtype)
        mined = mining.mine(found, documents, search, out, settings)
    typer.echo(
        f"{mined.queries} queries, {mined.positives} positives, {mined.negatives} negatives: {out}"
    )


def _embedded(
    corpus: list[str] | None, embedder: str | None, device: str, dtype: str
) -> tuple[list[Document], Search]:
    from minireranker.engine import Embedder
    from minireranker.train.searching import embedder_search

    from .sources import find_files, read_documents

    if not corpus or embedder is None:
        raise ConfigurationError(
            "name who searches and where: --corpus and --embedder, or --vectors with a folder that "
            "index --vectors has made"
        )
    model = Embedder.from_pretrained(embedder, device=device, dtype=dtype)
    documents = read_documents(find_files(corpus), model.limits.max_pixels)
    return embedder_search(model, documents)


def _indexed(
    stack: ExitStack, vectors: Path, embedder: str | None, device: str
) -> tuple[list[Document], Search]:
    from minireranker.retrieval.vector_index import VectorIndex
    from minireranker.train.searching import index_search

    from .encoders import EncoderPlace, Loader

    index: VectorIndex = stack.enter_context(VectorIndex.open(vectors))
    place = EncoderPlace.read(vectors)
    if place is None:
        if embedder is None:
            raise ConfigurationError(f"{vectors} does not say where its encoder is: add --embedder")
        place = EncoderPlace.of(index.settings.encoder, embedder, "auto")
    place.check(vectors)
    return index_search(index, Loader(device).load(place))
