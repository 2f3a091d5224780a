"""The public names, and that everything public is documented and everything annotated."""

import ast
import importlib

import pytest

import minireranker

FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def test_all_is_the_homes_and_the_version():
    assert sorted(minireranker.__all__) == sorted([*minireranker._HOMES, "__version__"])


@pytest.mark.parametrize("name", sorted(minireranker._HOMES))
def test_every_name_is_that_of_its_room(name):
    home = importlib.import_module(minireranker._HOMES[name])
    assert name in home.__all__
    assert getattr(minireranker, name) is getattr(home, name)


def test_a_type_checker_sees_the_same_names(sources):
    (face,) = (source for source in sources if source.name == "minireranker")
    (block,) = (node for node in face.tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == minireranker._HOMES


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"minireranker.*'Rerankers'"):
        _ = minireranker.Rerankers
    with pytest.raises(ImportError):
        exec("from minireranker import Rerankers")


def test_dir_offers_the_public_names():
    assert dir(minireranker) == sorted(minireranker.__all__)


def undocumented(source):
    """Public modules, classes, functions and methods without a docstring; see ``public``."""
    for name, node in [(source.name, source.tree), *public(source.tree, source.name)]:
        if not (ast.get_docstring(node) or "").strip():
            yield f"{source.path}:{getattr(node, 'lineno', 1)} {name}"


def public(node, prefix):
    """What no underscore hides. What stands inside a function, and overload stubs, are not."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If | ast.Try | ast.ExceptHandler | ast.With):
            yield from public(child, prefix)
        elif isinstance(child, FUNCTIONS | ast.ClassDef) and not child.name.startswith("_"):
            decorators = {ast.unparse(item).rpartition(".")[2] for item in child.decorator_list}
            if "overload" in decorators:
                continue
            yield f"{prefix}.{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{prefix}.{child.name}")


def unannotated(source):
    """Arguments and returns of any function, nested and private ones too, without a type."""
    bound = {
        id(child)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef)
        for child in node.body
        if isinstance(child, FUNCTIONS)
        and "staticmethod" not in [ast.unparse(item) for item in child.decorator_list]
    }
    for node in ast.walk(source.tree):
        if not isinstance(node, FUNCTIONS):
            continue
        given = node.args
        arguments = [*given.posonlyargs, *given.args][id(node) in bound :]
        arguments += [*given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
        missing = [argument.arg for argument in arguments if argument.annotation is None]
        missing += [] if node.returns else ["return"]
        if missing:
            yield f"{source.path}:{node.lineno} {node.name}: {', '.join(missing)}"


def test_everything_public_is_documented(sources):
    assert [line for source in sources for line in undocumented(source)] == []


def test_everything_is_annotated(sources):
    assert [line for source in sources for line in unannotated(source)] == []


@pytest.mark.parametrize(
    "body",
    [
        "def rank(): ...",
        "async def rank(): ...",
        "class Hit: ...",
        "class Hit:\n    '''A hit.'''\n    def rank(self): ...",
        "class Hit:\n    '''A hit.'''\n    @property\n    def rank(self): ...",
        "class Hit:\n    '''A hit.'''\n    class Inner: ...",
        "if True:\n    def rank(): ...",
        "def rank():\n    '''  '''",
    ],
)
def test_a_missing_docstring_is_seen(source_of, body):
    assert len(list(undocumented(source_of("cli.py", f"'''A module.'''\n{body}")))) == 1


def test_a_missing_module_docstring_is_seen(source_of):
    assert len(list(undocumented(source_of("cli.py", "X = 1")))) == 1


@pytest.mark.parametrize(
    "body",
    [
        "def _rank(): ...",
        "def rank():\n    '''Rank.'''\n    def inner(): ...",
        "@overload\ndef rank(x: int) -> int: ...",
        "@typing.overload\ndef rank(x: int) -> int: ...",
        "class _Hit:\n    def rank(self): ...",
    ],
)
def test_what_is_not_public_needs_no_docstring(source_of, body):
    assert list(undocumented(source_of("cli.py", f"'''A module.'''\n{body}"))) == []


@pytest.mark.parametrize(
    "text",
    [
        "def rank(query) -> None: ...",
        "def rank(query: str): ...",
        "def rank(*, top_k=10) -> None: ...",
        "def rank(*queries) -> None: ...",
        "def rank(**options) -> None: ...",
        "def rank() -> None:\n    def inner(x) -> None: ...",
        "class Hit:\n    @staticmethod\n    def of(value) -> None: ...",
        "class Hit:\n    def __init__(self): ...",
    ],
)
def test_a_missing_annotation_is_seen(source_of, text):
    assert len(list(unannotated(source_of("cli.py", text)))) == 1


def test_self_and_cls_need_no_annotation(source_of):
    text = (
        "class Hit:\n    def rank(self, top: int, /, *rest: str) -> None: ...\n"
        "    @classmethod\n    def of(cls) -> None: ..."
    )
    assert list(unannotated(source_of("cli.py", text))) == []
