"""Formulas as text, such as "cd + 0.1 * cm**2" or "cl = 0.5"; never evaluated as code."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Values = Mapping[str, Tensor]
Kind = Literal["=", ">=", "<="]
_TWO: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_ONE: Mapping[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_FUNCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
}


@dataclass(frozen=True)
class Formula:
    """A function of named values: numbers, + - * / **, brackets, abs, exp, log and sqrt.

    Raises:
        ValueError: a text that is anything else.
    """

    text: str

    def __post_init__(self) -> None:
        self._check(self._tree())

    def _tree(self) -> ast.expr:
        try:
            return ast.parse(self.text.strip(), mode="eval").body
        except SyntaxError as error:
            raise ValueError(f"expected a formula, got {self.text!r}: {error.msg}") from error

    def _check(self, node: ast.expr) -> None:
        match node:
            case ast.Name() | ast.Constant(value=int() | float()):
                return
            case ast.BinOp(left, op, right) if type(op) in _TWO:
                self._check(left)
                self._check(right)
            case ast.UnaryOp(op, operand) if type(op) in _ONE:
                self._check(operand)
            case ast.Call(ast.Name(name), [argument], []) if name in _FUNCTIONS:
                self._check(argument)
            case _:
                raise ValueError(
                    f"expected names, numbers, + - * / ** and {', '.join(_FUNCTIONS)}, got "
                    f"{ast.unparse(node)!r} in {self.text!r}"
                )

    @property
    def names(self) -> frozenset[str]:
        """That it is a function of."""
        found = (n.id for n in ast.walk(self._tree()) if isinstance(n, ast.Name))
        return frozenset(found) - set(_FUNCTIONS)

    def __call__(self, values: Values) -> Tensor:
        found = _value(self._tree(), values)
        if isinstance(found, Tensor):
            return found
        like = next(iter(values.values()))
        return torch.full_like(like, float(found))


def _value(node: ast.expr, values: Values) -> Any:
    match node:
        case ast.Name(name):
            return values[name]
        case ast.Constant(value):
            return value
        case ast.BinOp(left, op, right):
            return _TWO[type(op)](_value(left, values), _value(right, values))
        case ast.UnaryOp(op, operand):
            return _ONE[type(op)](_value(operand, values))
        case ast.Call(ast.Name(name), [argument], []):
            return _FUNCTIONS[name](_value(argument, values))
    raise TypeError(f"expected a formula that was checked, got {ast.dump(node)}")


@dataclass(frozen=True)
class Constraint:
    """`gap` is to be 0 (`kind` "=") or not negative: what is left of a relation such as "cl = 0.5"
    or "0.12 <= thickness"."""

    text: str
    gap: Formula
    equal: bool

    @classmethod
    def of(cls, text: str) -> Constraint:
        """From a text.

        Raises:
            ValueError: no relation of two formulas by =, >= or <=.
        """
        for sign in (">=", "<=", "==", "="):
            left, found, right = text.partition(sign)
            if found:
                if sign == "<=":
                    left, right = right, left
                gap = Formula(f"({left.strip()}) - ({right.strip()})")
                return cls(text, gap, sign in ("=", "=="))
        raise ValueError(f'expected a relation such as "cl = 0.5", got {text!r}')
