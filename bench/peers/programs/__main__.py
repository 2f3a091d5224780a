"""Runs one peer: ``python __main__.py NAME``; speaks JSON lines on stdin and stdout.

This folder is loaded as a package of its own name, so that neither minireranker nor any folder of
it has to be importable in the peer's environment.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def main() -> None:
    """Import the module that is named on the command line and serve it."""
    here = Path(__file__).resolve().parent
    spec = spec_from_file_location(
        "peer_programs", here / "__init__.py", submodule_search_locations=[str(here)]
    )
    assert spec is not None, "a file gives a spec"
    assert spec.loader is not None, "and a loader"
    package = module_from_spec(spec)
    sys.modules[spec.name] = package
    spec.loader.exec_module(package)
    peer = import_module(f"peer_programs.{sys.argv[1]}_peer").Peer()
    import_module("peer_programs.wire").serve(peer)


if __name__ == "__main__":
    main()
