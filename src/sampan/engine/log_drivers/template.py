"""Tags as Go templates: text and actions in double braces, evaluated on what is known of a container.

    action    {{ pipeline }}   {{- trims before,   trims after -}}   {{/* comment */}}
              {{if P}} … {{else if P}} … {{else}} … {{end}}   {{with P}} … {{end}}   {{range P}} … {{end}}
    pipeline  command | command | …      each takes the former's value as its last argument
    command   operand, or function operand operand …
    operand   . .Field .Field.Field "text" `text` 12 1.5 true false nil (pipeline) (pipeline).Field

Not here: variables, nested templates. A template is compiled to functions of the dot; errors are in Go's words.
Source: https://pkg.go.dev/text/template and moby's daemon/logger/templates for the functions it adds.
"""

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

from sampan.engine.log_drivers.template_functions import FUNCTIONS, shown
from sampan.errors import InvalidParameter

Node = Callable[[Any], Any]

ACTION = re.compile(
    r"\{\{(-\s)?\s*(/\*.*?\*/|(?:\"(?:\\.|[^\"\\])*\"|`[^`]*`|(?!\}\})[^\"`])*?)\s*(\s-)?\}\}", re.DOTALL
)
TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:\\.|[^"\\\n])*"|`[^`]*`)|(?P<number>[+-]?\d+(?:\.\d+)?)"""
    r"""|(?P<field>(?:\.[A-Za-z_]\w*)+|\.)|(?P<word>[A-Za-z_]\w*)|(?P<mark>[()|]))"""
)
CONSTANTS: Mapping[str, Any] = {"true": True, "false": False, "nil": None}
Token = tuple[str, str]


def failed(why: str) -> InvalidParameter:
    """A template that cannot be used."""
    return InvalidParameter(f"failed to initialize logging driver: template: log-tag:1: {why}")


def render(template: str, info: Mapping[str, Any]) -> str:
    """``template`` filled in from ``info``, whose callables are methods; raises InvalidParameter."""
    return str(compile_template(template, info)(info))


def compile_template(template: str, known: Mapping[str, Any]) -> Node:
    """A function that renders ``template``; raises InvalidParameter for errors that no value could mend."""
    parser = Parser(split(template), known)
    body = parser.body()
    if parser.left:
        raise failed(f"unexpected {{{{{parser.left[0][1]}}}}}")
    return body


def split(template: str) -> list[Token]:
    """Texts and actions in order, trimmed where the actions say so."""
    parts: list[Token] = []
    at, trim = 0, False
    for found in ACTION.finditer(template):
        text = template[at : found.start()]
        parts.append(("text", trimmed(text, before=trim, after=bool(found[1]))))
        if not found[2].startswith("/*"):
            parts.append(("action", found[2]))
        at, trim = found.end(), bool(found[3])
    parts.append(("text", trimmed(template[at:], before=trim, after=False)))
    if any(kind == "text" and "{{" in text for kind, text in parts):
        raise failed("unclosed action")
    return [part for part in parts if part[0] == "action" or part[1]]


def trimmed(text: str, *, before: bool, after: bool) -> str:
    """Text without the white space that its neighbours eat."""
    text = text.lstrip() if before else text
    return text.rstrip() if after else text


def tokens(action: str) -> list[Token]:
    """Tokens of an action."""
    found, at = [], 0
    while action[at:].strip():
        match = TOKEN.match(action, at)
        if match is None:
            raise failed(f"unexpected {action[at:].strip()[0]!r} in command".replace("'", '"'))
        kind = str(match.lastgroup)
        found.append((kind, match[kind]))
        at = match.end()
    return found


class Parser:
    """Compiles texts and actions; ``known`` are the fields that the outermost dot has."""

    def __init__(self, parts: list[Token], known: Mapping[str, Any]) -> None:
        self.left = parts
        self.known = known
        self.inner = 0  # how many blocks have another dot

    def body(self) -> Node:
        """Everything up to ``else``, ``end`` or the end of the template."""
        nodes: list[Node] = []
        while self.left and self.left[0] not in (("action", "end"),) and not self._is_else():
            kind, text = self.left.pop(0)
            nodes.append(constant(text) if kind == "text" else self._action(text))
        return lambda dot: "".join(node(dot) for node in nodes)

    def _is_else(self) -> bool:
        kind, text = self.left[0]
        return kind == "action" and text.split()[:1] == ["else"]

    def _action(self, text: str) -> Node:
        word, _, rest = text.partition(" ")
        if word in ("if", "with", "range"):
            return self._block(word, rest)
        pipeline = Pipeline(tokens(text), self._fields()).whole()
        return lambda dot: shown(pipeline(dot))

    def _block(self, word: str, condition: str) -> Node:
        wanted = Pipeline(tokens(condition), self._fields()).whole()
        self.inner += word != "if"
        then = self.body()
        self.inner -= word != "if"
        otherwise = self._otherwise(word)
        return BLOCKS[word](wanted, then, otherwise)

    def _otherwise(self, word: str) -> Node:
        """What follows ``else`` up to the block's end."""
        if not self.left:
            raise failed("unexpected EOF")
        text = self.left.pop(0)[1]
        if text == "end":
            return constant("")
        rest = text.removeprefix("else").strip()
        if rest:
            if rest.split()[0] != word:
                raise failed(f"unexpected <{rest.split()[0]}> in else")
            return self._block(word, rest.removeprefix(word))
        node = self.body()
        if not self.left or self.left.pop(0)[1] != "end":
            raise failed("unexpected EOF")
        return node

    def _fields(self) -> Mapping[str, Any] | None:
        return None if self.inner else self.known


class Pipeline:
    """Compiles the tokens of one pipeline."""

    def __init__(self, left: list[Token], known: Mapping[str, Any] | None) -> None:
        self.left = left
        self.known = known

    def whole(self) -> Node:
        """The pipeline that all tokens make."""
        node = self.pipeline()
        if self.left:
            raise failed(f'unexpected "{self.left[0][1]}" in operand')
        return node

    def pipeline(self) -> Node:
        """Commands joined by bars."""
        node = self._command(None)
        while self.left and self.left[0] == ("mark", "|"):
            self.left.pop(0)
            node = self._command(node)
        return node

    def _command(self, former: Node | None) -> Node:
        if not self.left:
            raise failed("missing value for command")
        kind, name = self.left[0]
        head = self._operand(callee=True)
        arguments: list[Node] = []
        while self.left and self.left[0] not in (("mark", "|"), ("mark", ")")):
            arguments.append(self._operand())
        if former is not None:
            arguments.append(former)
        if kind not in ("word", "field") and arguments:
            raise failed(f"can't give argument to non-function {name}")
        return lambda dot: call(name, head(dot), [argument(dot) for argument in arguments])

    def _operand(self, *, callee: bool = False) -> Node:
        """One operand; a function where it is not called takes no arguments."""
        kind, text = self.left.pop(0)
        if kind == "mark" and text == "(":
            return self._parenthesis()
        if kind == "mark":
            raise failed(f'unexpected "{text}" in operand')
        node = self._atom(kind, text)
        return node if callee else lambda dot: call(text, node(dot), [])

    def _parenthesis(self) -> Node:
        inner = self.pipeline()
        if not self.left or self.left.pop(0) != ("mark", ")"):
            raise failed("unclosed left paren")
        if self.left and self.left[0][0] == "field" and self.left[0][1] != ".":
            names = self.left.pop(0)[1]
            return lambda dot: fields(inner(dot), names)
        return inner

    def _atom(self, kind: str, text: str) -> Node:
        if kind == "string":
            return constant(text[1:-1] if text[0] == "`" else ast.literal_eval(text))
        if kind == "number":
            return constant(float(text) if "." in text else int(text))
        if kind == "field":
            first = text.split(".")[1]
            if self.known is not None and first and first not in self.known:
                raise no_field(text, first)
            return lambda dot: fields(dot, text)
        if text in CONSTANTS:
            return constant(CONSTANTS[text])
        if text not in FUNCTIONS:
            raise failed(f'function "{text}" not defined')
        return constant(FUNCTIONS[text])


def constant(value: Any) -> Node:
    """The same value whatever the dot."""
    return lambda dot: value


def no_field(text: str, name: str) -> InvalidParameter:
    """A field that what stands before it has not."""
    return failed(f'executing "log-tag" at <{text}>: can\'t evaluate field {name} in type *logger.Info')


def fields(value: Any, text: str) -> Any:
    """The value that ``.Field.Field`` names; a key that a map has not is nothing."""
    *before, last = text.split(".")[1:]
    for name in before:
        value = call(text, fields(value, f".{name}"), [])
    if not last:
        return value
    if not isinstance(value, Mapping):
        raise no_field(text, last)
    return value.get(last)


def call(name: str, value: Any, arguments: list[Any]) -> Any:
    """A value, or what a function or method answers."""
    if not callable(value):
        if arguments:
            raise failed(f'executing "log-tag" at <{name}>: {name} has arguments but cannot be invoked as function')
        return value
    try:
        return value(*arguments)
    except (TypeError, AttributeError, ValueError, LookupError) as error:
        raise failed(f'executing "log-tag" at <{name}>: error calling {name.lstrip(".")}: {error}') from None


def repeated(wanted: Node, then: Node, otherwise: Node) -> Node:
    """``range``: for each element, or the values of a map by its sorted keys."""

    def node(dot: Any) -> str:
        value = wanted(dot)
        items = [value[key] for key in sorted(value)] if isinstance(value, Mapping) else list(value or ())
        return "".join(then(item) for item in items) if items else str(otherwise(dot))

    return node


def narrowed(wanted: Node, then: Node, otherwise: Node) -> Node:
    """``with``: the value is the dot if it is not empty."""
    return lambda dot: then(value) if (value := wanted(dot)) else otherwise(dot)


BLOCKS: Mapping[str, Callable[[Node, Node, Node], Node]] = {
    "if": lambda wanted, then, otherwise: lambda dot: then(dot) if wanted(dot) else otherwise(dot),
    "with": narrowed,
    "range": repeated,
}
