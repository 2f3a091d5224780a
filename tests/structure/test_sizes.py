"""Sizes are reviewed numbers: short files, short functions."""

import ast
import math

import pytest

FILE_P90, FILE_MAX, KERNEL_MAX, TEST_MAX = 220, 400, 700, 500
FUNCTION_P90 = 25


def p90(sizes):
    """The smallest size that nine in ten do not exceed; ``sizes`` are (lines, name) pairs."""
    return sorted(sizes)[math.ceil(0.9 * len(sizes)) - 1]


def file_sizes(sources):
    return [(source.lines, str(source.path)) for source in sources]


def function_sizes(sources):
    """Lines of every function from its ``def`` to its end, less the docstring."""
    return [
        (lines_of(node), f"{source.path}:{node.lineno} {node.name}")
        for source in sources
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def lines_of(function):
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def too_long(sources):
    """Files above their limit; a kernel may be one long file."""
    for source in sources:
        limit = KERNEL_MAX if source.room == "kernels" else FILE_MAX
        if source.lines > limit:
            yield f"{source.path}: {source.lines} lines, limit {limit}"


def test_no_file_is_too_long(sources):
    assert list(too_long(sources)) == []


def test_nine_in_ten_files_are_short(sources):
    sizes = file_sizes(sources)
    assert p90(sizes)[0] <= FILE_P90, sorted(sizes)[-len(sizes) // 5 :]


def test_nine_in_ten_functions_are_short(sources):
    sizes = function_sizes(sources)
    assert p90(sizes)[0] <= FUNCTION_P90, sorted(sizes)[-len(sizes) // 5 :]


def test_no_test_file_is_too_long(test_sources):
    assert [size for size in file_sizes(test_sources) if size[0] > TEST_MAX] == []


@pytest.mark.parametrize(
    ("path", "lines", "objections"),
    [
        ("engine/types.py", FILE_MAX, 0),
        ("engine/types.py", FILE_MAX + 1, 1),
        ("kernels/band_attention/triton.py", FILE_MAX + 1, 0),
        ("kernels/band_attention/triton.py", KERNEL_MAX + 1, 1),
    ],
)
def test_a_file_above_its_limit_is_seen(source_of, path, lines, objections):
    assert len(list(too_long([source_of(path, "x = 1\n" * lines)]))) == objections


def test_a_function_is_measured_without_its_docstring(source_of):
    text = (
        "class A:\n    @property\n    def f(\n        self,\n    ):\n"
        "        '''One\n\n        two.'''\n        return 1\n"
    )
    assert [lines for lines, _ in function_sizes([source_of("cli.py", text)])] == [4]


def test_p90_is_the_nearest_rank():
    assert p90([(size, "") for size in range(1, 11)]) == (9, "")
    assert p90([(size, "") for size in range(1, 12)]) == (10, "")
