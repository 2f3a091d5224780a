"""The commands of the `minireranker` program: each a thin call into a folder below.

The modules here are imported whenever the program starts, `--help` included, so what is heavy
(torch, the engine, Pillow) is imported inside the functions.
"""
