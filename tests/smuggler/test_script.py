"""Transform scripts: what users of RavenDB have, what they must not change, and what they cannot do."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.errors import InvalidDocument, InvalidInput, InvalidScript
from muniment.smuggler.script import Transform
from tests.sampled import count, some

METADATA = b'{"Raven-Entity-Name":"Orders","Last-Modified":"2018-07-27T12:11:53.0145929Z","n":1.10}'
# What a trip through JavaScript's doubles would change, in places and by itself.
BODY = (
    b'{"Freight":1.10,"Id":1234567890123456789012345678901234567890,"Zero":-0.0,"Exp":1e400,"Long":9007199254740993,'
    b'"Lines":[{"Price":18.0,"Key":9007199254740995},{"Price":2.50}],"Name":"M\xc3\xbcnster \\u00e9 \\/","e":1E2}'
)


def run(script: str, body: bytes = BODY, metadata: bytes = METADATA, **limits: Any) -> tuple[bytes, bytes] | None:
    transform = Transform(script, **limits)
    try:
        return transform.document("orders/1-A", metadata, body)
    finally:
        transform.close()


def body_of(script: str, body: bytes = BODY) -> bytes:
    result = run(script, body)
    assert result is not None
    assert result[0] is METADATA
    return result[1]


def failure(script: str, body: bytes = BODY, **limits: Any) -> str:
    with pytest.raises(InvalidScript) as caught:
        run(script, body, **limits)
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize(
    "script",
    [
        "function(doc) { return doc; }",
        "function (doc) { return doc; };\n\n",
        "// as it is\n/* of old */ function keep(doc) { return doc; }",
        "(function(doc) { return doc; })",
        "doc => doc",
        "(doc) => { return doc }  // shortest",
        "function(doc) { doc.Freight = doc.Freight * 2 / 2; return JSON.parse(JSON.stringify(doc)) && doc; }",
        "if (id(this) !== this['@metadata']['@id']) throw 'wrong';",
        "function helper(doc) { return doc.Freight; } if (helper(this) > 100) throw 'skip';",
    ],
)
def test_a_document_that_is_not_changed_keeps_its_bytes(script: str) -> None:
    result = run(script)
    assert result is not None
    assert result[0] is METADATA
    assert result[1] is BODY


@pytest.mark.parametrize(
    "script",
    [
        "function(doc) { return null; }",
        "doc => null",
        "function(doc) { if (doc['@metadata']['@id'] === 'orders/1-A') { return null; } return doc; }",
        "var id = this['@metadata']['@id'];\nif (id === 'orders/1-A')\n    throw 'skip'; // it\nthis.Freight = 1;",
        "function(doc) { throw 'skip'; }",
    ],
)
def test_a_document_can_be_left_out(script: str) -> None:
    assert run(script) is None


@pytest.mark.parametrize(
    ("script", "changed"),
    [
        ("function(doc) { doc.Name = 'x'; return doc; }", (b'"M\xc3\xbcnster \\u00e9 \\/"', b'"x"')),
        ("this.Freight = 15.3;", (b"1.10", b"15.3")),
        ("this.Lines[0].Price *= 2", (b"18.0", b"36")),
        ("function(doc) { delete doc.e; return doc }", (b',"e":1E2', b"")),
        ("function(doc) { doc.Lines.shift(); return doc }", (b'{"Price":18.0,"Key":9007199254740995},', b"")),
        ("function(doc) { doc.Lines = doc.Lines.filter(l => l.Key); return doc }", (b',{"Price":2.50}', b"")),
        ("this.Exp = 1", (b"1e400", b"1")),
        ("this.Long = this.Id", (b"9007199254740993", b"1234567890123456789012345678901234567890")),
        ("this.Long = 2n ** 70n", (b"9007199254740993", b"1180591620717411303424")),
        ("this.New = [undefined, () => 1, new Date(0), new Number(1), '\\ud800']; this.u = undefined",
         (b"}", b',"New":[null,null,"1970-01-01T00:00:00.000Z",1,"\\ud800"]}')),
    ],
)  # fmt: skip
def test_only_what_the_script_changes_is_changed(script: str, changed: tuple[bytes, bytes]) -> None:
    old, new = changed
    at = BODY.rindex(old)
    expected = (BODY[:at] + new + BODY[at + len(old) :]).replace(b"\\u00e9 \\/", "é /".encode())
    assert body_of(script) == expected


def test_a_number_that_moved_is_as_large_as_before() -> None:
    moved = body_of("function(doc) { return { all: doc.Lines.map(l => ({...l})), id: doc.Id, f: doc.Freight }; }")
    assert moved == (
        b'{"all":[{"Price":18,"Key":9007199254740995},{"Price":2.5}],"id":1234567890123456789012345678901234567890,'
        b'"f":1.1}'
    )


def test_numbers_that_are_one_to_javascript_are_not_mixed_up() -> None:
    two = b'{"a":9007199254740993,"b":9007199254740992.5,"c":1}'
    assert body_of("this.c = 2", two) == two.replace(b'"c":1', b'"c":2')
    assert "moves one of several numbers" in failure("this.c = this.a", two)


@pytest.mark.parametrize(
    ("script", "metadata"),
    [
        ("this['@metadata']['Raven-Entity-Name'] = 'Bills'", METADATA.replace(b"Orders", b"Bills")),
        ("this['@metadata']['@collection'] = 'Bills'", METADATA.replace(b"Orders", b"Bills")),
        ("this['@metadata']['@expires'] = 'x'", METADATA[:-1] + b',"Raven-Expiration-Date":"x"}'),
        ("delete this['@metadata']['Last-Modified']", b'{"Raven-Entity-Name":"Orders","n":1.10}'),
        ("this['@metadata']['@collection'] = null", b'{"Last-Modified":"2018-07-27T12:11:53.0145929Z","n":1.10}'),
        (
            "function(d) { d['@metadata'] = {'@collection': 'As', '@id': id(d), '@etag': 5}; return d }",
            b'{"Raven-Entity-Name":"As"}',
        ),
    ],
)
def test_metadata_can_be_changed(script: str, metadata: bytes) -> None:
    result = run(script)
    assert result is not None
    assert result[0] == metadata
    assert result[1] is BODY


def test_metadata_that_the_script_does_not_return_is_kept() -> None:
    assert body_of("function(doc) { return { Name: doc.Lines.length }; }") == b'{"Name":2}'


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("", "it is no function"),
        ("function(doc) { return doc", "SyntaxError"),
        ("function(doc) { return doc; } and more", "SyntaxError"),
        ("this.x = ;", "SyntaxError"),
        ("({})", "it is no function"),
        ("function a(doc) { return doc; }\nfunction b(doc) { return doc; }", "SyntaxError"),
        ("var x = 1;", "it is no function"),
        ("(function() { while (true) {} })()", "more than 0.2 s"),
        ("(function() { throw 'at once' })()", "at once"),
    ],
)
def test_a_script_that_can_not_be_used(script: str, reason: str) -> None:
    with pytest.raises(InvalidScript, match="cannot be used") as caught:
        Transform(script, seconds=0.2)
    assert reason in caught.value.message


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("function(doc) { return doc.a.b; }", "TypeError: cannot read property 'b' of undefined"),
        ("function(doc) { throw 'no'; }", "it threw no"),
        ("function(doc) { throw new Error('é'.repeat(3)); }", "Error: ééé"),
        ("function(doc) { }", "it returns nothing"),
        ("function(doc) { return 5; }", "it returns Number"),
        ("function(doc) { return [doc]; }", "it returns Array"),
        ("function(doc) { return 'doc'; }", "it returns String"),
        ("async function(doc) { return doc; }", "it returns Promise"),
        ("function(doc) { doc.n = 0 / 0; return doc; }", "n is NaN"),
        ("function(doc) { doc.n = {m: [1 / 0]}; return doc; }", "0 is Infinity"),
        ("function(doc) { doc.me = doc; return doc; }", "holds itself"),
        ("function(doc) { doc['@metadata']['@id'] = 'other'; return doc; }", "changes the document's @id"),
        ("function(doc) { doc['@metadata'] = 'x'; return doc; }", "@metadata is no object"),
        ("function(doc) { return require('fs'); }", "ReferenceError"),
        ("function(doc) { return Object.freeze(doc); }", "TypeError"),
        ("this.x = load('users/1')", "ReferenceError"),
    ],
)
def test_a_script_that_fails_names_the_document(script: str, reason: str) -> None:
    message = failure(script)
    assert "document 'orders/1-A'" in message
    assert reason in message


@some(3)
@pytest.mark.parametrize(
    "script",
    [
        "function(doc) { while (true) {} }",
        "function(doc) { while (true) { try { while (true) {} } catch (e) {} } }",
        "function(doc) { (function f() { try { while (true) {} } finally { f() } })() }",
        "function(doc) { /^(a+)+$/.test('a'.repeat(50) + 'b') }",
        "function(doc) { doc.toJSON = () => { while (true) {} }; return doc }",
        "function(doc) { throw {toString() { while (true) {} }} }",
        "function(doc) { Array.prototype.reverse.call({length: 2 ** 53 - 1}) }",  # QuickJS itself does not stop this
        "function(doc) { Array(2 ** 32 - 2).join() }",
        "while (true) { this.x = 1 }",
    ],
)
def test_a_script_that_does_not_end_is_stopped(script: str) -> None:
    assert "it ran for more than 0.1 s" in failure(script, seconds=0.1)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("function(doc) { let a = []; while (true) a.push(new Array(1000).fill(1)) }", "out of memory"),
        ("function(doc) { doc.x = 'x'.repeat(2 ** 29); return doc }", "out of memory"),
        ("function(doc) { return new ArrayBuffer(1e10) }", "invalid array buffer length"),
        ("function(doc) { (function f() { f() })() }", "stack"),
        ("function(doc) { let o = {}; for (let i = 0; i < 1e5; i++) o = {o}; return o }", "nested too deeply"),
        ("function(doc) { doc.x = 1n << 1000000000n; return doc }", "too large"),
    ],
)
def test_a_script_that_takes_too_much_memory_is_stopped(script: str, reason: str) -> None:
    message = failure(script, memory=32 << 20)
    assert "orders/1-A" in message
    assert reason in message


def test_after_a_failure_the_next_document_is_transformed() -> None:
    script = """function(doc) {
        if (doc.loop) while (true) {}
        if (doc.hang) Array.prototype.reverse.call({length: 2 ** 53 - 1});
        if (doc.grow) { let a = []; while (true) a.push(new Array(1000).fill(1)) }
        if (doc.fail) fail();
        doc.ok = true;
        return doc;
    }"""
    transform = Transform(script, seconds=0.1, memory=32 << 20)
    try:
        for what in ("loop", "hang", "grow", "fail"):
            with pytest.raises(InvalidScript):
                transform.document("a/1", b"{}", b'{"%s":1}' % what.encode())
            assert transform.document("a/2", b"{}", b"{}") == (b"{}", b'{"ok":true}')
    finally:
        transform.close()


def test_there_is_nothing_to_reach_from_a_script() -> None:
    names = json.loads(body_of("function(doc) { return {names: Object.getOwnPropertyNames(globalThis)}; }"))["names"]
    assert not {"require", "process", "std", "os", "fetch", "XMLHttpRequest", "setTimeout", "Worker", "print"} & {
        *names
    }
    with pytest.raises(InvalidScript, match="Promise"):
        run("function(doc) { return import('fs'); }")
    assert "ReferenceError" in failure("function(doc) { script; return doc }")


def test_the_process_ends_with_the_transform() -> None:
    transform = Transform("doc => doc")
    process = transform._child.pid
    transform.close()
    transform.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_result_that_is_too_large() -> None:
    with pytest.raises(InvalidScript, match="metadata of"):
        run("this['@metadata'].x = 'x'.repeat(2 ** 20)")
    with pytest.raises(InvalidDocument, match="orders/1-A"):
        run("this.x = 'x'.repeat(65 << 20)")


def test_a_deep_document_goes_through() -> None:
    deep = b'{"a":' * 800 + b"1.0" + b"}" * 800
    assert body_of("this.b = 1", deep) == deep[:-1] + b',"b":1}'


def test_ids_of_any_kind() -> None:
    transform = Transform("this.id = id(this)")
    try:
        for id in ("é/\U0001f600", 'quote"\\', "nul\0/1", "two\nlines"):
            result = transform.document(id, b"{}", b"{}")
            assert result is not None
            assert json.loads(result[1]) == {"id": id}
    finally:
        transform.close()


def test_without_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "quickjs", None)
    with pytest.raises(InvalidInput) as caught:
        Transform("doc => doc")
    assert "pip install 'muniment[javascript]'" in caught.value.hint


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def appending() -> Iterator[Transform]:
    transform = Transform("this['added by the script'] = 1")
    yield transform
    transform.close()


@settings(max_examples=count(20, whole=1000), deadline=None)
@given(members=st.dictionaries(st.text(max_size=4).filter(lambda name: name != "@metadata"), _json, max_size=4))
def test_any_document_keeps_what_the_script_leaves_alone(appending: Transform, members: dict[str, Any]) -> None:
    result = appending.document("a/1", b"{}", json.dumps(members).encode())
    assert result is not None
    after = json.loads(result[1], parse_float=str, parse_int=str)
    before = json.loads(json.dumps(members), parse_float=str, parse_int=str)
    assert after == {**before, "added by the script": "1"}


def test_the_javascript_is_beside_the_module() -> None:
    import muniment.smuggler

    assert (Path(muniment.smuggler.__path__[0]) / "script.js").is_file()
