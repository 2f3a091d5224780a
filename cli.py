"""The `minireranker` program: mounts the commands, shows errors, sets up logging.

Importing this module imports neither torch nor the engine; every command does that when it runs.
Exit codes: 0 done (in `rank` and `search`: at least one document was ranked), 1 the fault of the
machine (a full disk), or `checkpoint inspect` found problems, 2 wrong input or nothing ranked, 130
interrupted, by the keyboard or by SIGTERM (`serve`, once it has loaded, has its own).
"""

from __future__ import annotations

import errno
import logging
import signal
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text
from typer.core import TyperGroup

from minireranker.commands import (
    bench,
    cache,
    checkpoint,
    client,
    demo,
    index,
    profile,
    rank,
    scenes,
    search,
    serve,
    train,
    vectors,
)
from minireranker.errors import MinirerankerError

__all__ = ["app", "main"]

_INTERRUPTED = 130


class _Program(TyperGroup):
    """The root command: turns our errors into one red line, whichever command raised them."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command. Raises typer.Exit with 2 for our errors and 130 when interrupted."""
        try:
            return super().invoke(ctx)
        except MinirerankerError as error:
            console = Console(stderr=True)
            if ctx.params.get("debug"):
                console.print_exception()
            console.print(Text(f"error: {error}", style="red"), soft_wrap=True)
            raise typer.Exit(2) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # whoever read our output has gone: not worth a word
                raise
            Console(stderr=True).print(Text(f"error: {error}", style="red"), soft_wrap=True)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as interrupt:
            Console(stderr=True).print("interrupted")
            raise typer.Exit(_INTERRUPTED) from interrupt


app = typer.Typer(
    name="minireranker",
    cls=_Program,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="Multimodal reranking with every document's pixels read once.",
)
app.command()(rank.rank)
app.command()(index.index)
app.command()(search.search)
app.command()(serve.serve)
app.add_typer(client.app, name="client")
app.command()(demo.demo)
app.command()(scenes.scenes)
app.add_typer(cache.app, name="cache", help="Look after the folder of cached documents.")
app.add_typer(vectors.app, name="vectors", help="Look after an index of vectors.")
app.add_typer(profile.app, name="profile", help="Look at profiles, propose one.")
app.add_typer(checkpoint.app, name="checkpoint", help="Make and inspect checkpoints.")
app.add_typer(train.app, name="train")
app.add_typer(bench.app, name="bench", help="Measure.")


def main() -> None:
    """The console entry point."""
    # As the keyboard does: what is finished is told, and no process or scratch folder is left.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app(prog_name="minireranker")


def _show_version(wanted: bool) -> None:
    if wanted:
        from minireranker import __version__

        typer.echo(f"minireranker {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    handler = RichHandler(console=Console(stderr=True), show_time=False, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])


if __name__ == "__main__":
    main()
