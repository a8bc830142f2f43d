"""A context reads and writes like a dict, and says afterwards what changed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liquefy.context import FIELD_NAME_BYTES_MAX, Context
from liquefy.values import pack, unpack


def changed(context):
    sets, removes = context.changes()
    return {name: unpack(value) for name, value in sets.items()}, set(removes)


def test_reads_and_writes_like_a_dict():
    context = Context({"visits": 1, "items": [1, 2]})
    assert context["visits"] == 1
    assert context.get("visits") == 1
    assert context.get("nothing") is None
    assert context.get("nothing", 5) == 5
    assert "items" in context
    assert "nothing" not in context
    assert len(context) == 2
    assert set(context) == {"visits", "items"}
    assert context == {"visits": 1, "items": [1, 2]}
    assert context.copy() == {"visits": 1, "items": [1, 2]}
    assert type(context.copy()) is dict
    assert context | {"a": 1} == {"visits": 1, "items": [1, 2], "a": 1}
    assert repr(Context({"a": 1})) == "Context({'a': 1})"
    with pytest.raises(KeyError) as raised:
        context["nothing"]
    assert raised.value.__context__ is None
    assert context.setdefault("visits", 9) == 1
    assert context.setdefault("new", 9) == 9
    assert context.pop("new") == 9
    context |= {"more": 3}
    context.update(even=4)
    assert context["more"] + context["even"] == 7
    context.clear()
    assert not context
    assert context == {}


def test_names_are_strings():
    with pytest.raises(TypeError, match="strings, not int"):
        Context()[1] = 2
    with pytest.raises(TypeError):
        Context({1: 2})


def test_only_what_changed_is_a_change():
    context = Context({"a": 1, "b": 2, "c": [1], "d": {"x": 1}, "e": 1})
    context["a"] = 5
    context["b"] = 2
    context["c"].append(2)
    assert context["d"]["x"] == 1
    del context["e"]
    context["new"] = None
    assert changed(context) == ({"a": 5, "c": [1, 2], "new": None}, {"e"})
    assert changed(context) == ({}, set())
    assert context == {"a": 5, "b": 2, "c": [1, 2], "d": {"x": 1}, "new": None}


def test_equal_but_of_another_type_is_a_change():
    context = Context({"a": 1})
    context["a"] = True
    assert changed(context) == ({"a": True}, set())
    assert context["a"] is True


def test_a_field_removed_and_set_again_is_set():
    context = Context({"a": 1})
    del context["a"]
    assert "a" not in context
    context["a"] = 2
    assert changed(context) == ({"a": 2}, set())


def test_a_field_set_and_removed_again_is_nothing():
    context = Context()
    context["a"] = 2
    del context["a"]
    with pytest.raises(KeyError):
        del context["a"]
    assert changed(context) == ({}, set())


def test_rollback_undoes_everything_also_inside_of_values():
    context = Context({"a": 1, "b": [1], "c": 3})
    context["a"] = 2
    context["b"].append(2)
    context["new"] = 1
    del context["c"]
    context.rollback()
    assert context == {"a": 1, "b": [1], "c": 3}
    assert changed(context) == ({}, set())


def test_two_fields_never_share_a_value_after_a_call():
    context = Context({"a": [1]})
    context["b"] = context["a"]
    context.changes()
    context["a"].append(2)
    assert changed(context) == ({"a": [1, 2]}, set())
    assert context["b"] == [1]


def test_what_a_fluxion_kept_hold_of_does_not_reach_into_the_next_call():
    context = Context({"a": [1]})
    kept = context["a"]
    context.changes()
    kept.append(2)
    assert context["a"] == [1]


def test_what_cannot_be_stored_is_named_and_nothing_has_happened():
    context = Context({"a": 1})
    context["a"] = 2
    context["b"] = {"x": [object()]}
    with pytest.raises(ValueError, match=r"object at context\['b'\]\.x\[0\] cannot be stored"):
        context.changes()
    context.rollback()
    assert context == {"a": 1}


@pytest.mark.parametrize("name", ["x" * (FIELD_NAME_BYTES_MAX + 1), "\ud800"])
def test_names_have_limits(name):
    context = Context()
    context[name] = 1
    with pytest.raises(ValueError, match="context field name"):
        context.changes()


def test_size_and_emptiness_follow_the_changes():
    context = Context.from_packed({"a": pack("x" * 100)})
    assert context.size == 1 + len(pack("x" * 100))
    assert not context.is_empty()
    context["b"] = [1]
    context.changes()
    assert context.size == 2 + len(pack("x" * 100)) + len(pack([1]))
    context.clear()
    context.changes()
    assert (context.size, context.is_empty()) == (0, True)


names = st.sampled_from("abcd")
plain = st.integers(0, 3) | st.lists(st.integers(0, 2), max_size=2)
step = (
    st.tuples(st.just("set"), names, plain)
    | st.tuples(st.just("del"), names)
    | st.tuples(st.just("append"), names)
    | st.tuples(st.just("changes"))
    | st.tuples(st.just("rollback"))
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(names, plain), st.lists(step, max_size=20))
def test_is_a_dict_whose_changes_add_up_to_its_state(start, steps):
    """The model: a dict for what the fluxion sees, a dict of packed fields for what the store has."""
    stored = {name: pack(value) for name, value in start.items()}
    context = Context.from_packed(dict(stored))
    model = {name: unpack(value) for name, value in stored.items()}
    for kind, *arguments in [*steps, ("changes",)]:
        if kind == "set":
            context[arguments[0]] = unpack(pack(arguments[1]))
            model[arguments[0]] = arguments[1]
        elif kind == "del" and arguments[0] in model:
            del context[arguments[0]]
            del model[arguments[0]]
        elif kind == "append" and isinstance(model.get(arguments[0]), list):
            context[arguments[0]].append(7)
            model[arguments[0]] = [*model[arguments[0]], 7]
        elif kind == "rollback":
            context.rollback()
            model = {name: unpack(value) for name, value in stored.items()}
        elif kind == "changes":
            sets, removes = context.changes()
            stored.update(sets)
            for name in removes:
                del stored[name]
            assert {name: unpack(value) for name, value in stored.items()} == model
            assert context.size == sum(len(n) + len(v) for n, v in stored.items())
        assert context == model
        assert len(context) == len(model)
