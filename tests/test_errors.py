"""The error tree is the one drawn in the module, and every message says what to do about it."""

import builtins
import inspect
import pickle
import re

import pytest

from minireranker import errors
from minireranker.errors import (
    MinirerankerError,
    MissingDependencyError,
    ProfileError,
    RejectedDocumentsError,
    UnknownDocumentError,
)

LINE = re.compile(r"^    ((?:[│ ]   )*)(?:├── |└── )?(\w+Error)(?: \((\w+)\))?(?: +(\S.*))?$")
"""A line of the drawing: rails, name, a built-in base, a remark."""


def drawn():
    """Name of every class in the drawing, with the names of its bases, the drawn one first."""
    bases, above = {}, {}
    for line in errors.__doc__.splitlines():
        found = LINE.match(line)
        if found:
            rails, name, builtin, remark = found.groups()
            depth = len(rails) // 4 + ("── " in line)
            above[depth] = name
            parent = above[depth - 1] if depth else "Exception"
            bases[name] = [parent, builtin] if builtin else [parent]
            assert remark or not depth, f"{name} is drawn without a remark"
    return bases


def defined():
    """The same, of the classes there are."""
    return {
        name: [base.__name__ for base in kind.__bases__]
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, Exception)
    }


def test_the_drawing_is_the_tree():
    assert drawn() == defined()


def test_all_names_every_class():
    assert errors.__all__ == sorted(defined())


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_ours_and_what_python_calls_it(name):
    kind = getattr(errors, name)
    assert issubclass(kind, MinirerankerError)
    for base in drawn()[name][1:]:
        assert issubclass(kind, getattr(builtins, base))


@pytest.mark.parametrize(
    "name", [name for name in errors.__all__ if "__init__" not in vars(getattr(errors, name))]
)
def test_a_message_is_shown_as_it_was_written(name):
    message = "document 'a' is gone; index it again"
    error = getattr(errors, name)(message)
    assert str(error) == message


def test_unknown_document_is_a_key_error_without_the_quotes():
    with pytest.raises(KeyError) as caught:
        raise UnknownDocumentError("no document 'a'")
    assert str(caught.value) == "no document 'a'"
    assert str(KeyError("no document 'a'")) != "no document 'a'"
    assert str(UnknownDocumentError()) == ""


def test_missing_dependency_is_an_import_error():
    with pytest.raises(ImportError, match=r"minireranker\[video\]"):
        raise MissingDependencyError("PyAV is needed: pip install 'minireranker[video]'")


def test_profile_error_names_field_value_and_range():
    with pytest.raises(ValueError, match="profile field") as caught:
        raise ProfileError("limits.max_tokens", "many", "above 0")
    error = caught.value
    assert str(error) == "profile field limits.max_tokens = 'many': allowed is above 0"
    assert (error.field, error.value, error.allowed) == ("limits.max_tokens", "many", "above 0")


@pytest.mark.parametrize(("count", "more"), [(1, ""), (5, ""), (6, "; and 1 more"), (9, "and 4")])
def test_rejected_documents_carries_the_rest_of_the_work(count, more):
    failed, result = [f"document {n}: damaged" for n in range(count)], object()
    error = RejectedDocumentsError(failed, result)
    assert error.failed is failed
    assert error.result is result
    assert str(error).startswith(f"{count} document(s) failed: document 0: damaged")
    assert str(error).count("damaged") == min(count, 5)
    assert more in str(error)
    assert ("more" in str(error)) == bool(more)
    assert str(error).endswith(".result")


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_goes_to_another_process_with_all_it_knows(name):
    kind = getattr(errors, name)
    given = {ProfileError: ("a.b", 7, "0 to 1"), RejectedDocumentsError: (["one"], [0.5])}
    error = kind(*given.get(kind, ("what was wrong",)))
    error.found_later = "at line 7"
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (kind, str(error), vars(error))
