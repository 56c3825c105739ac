"""Every field of a recipe as an option of `vitral train`, generated from the dataclass itself."""

import ast
import inspect
from dataclasses import dataclass, field, fields, make_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from vitral.training.recipe import RECIPES, Recipe


def _explanations() -> dict[str, str]:
    """The text under each field of `Recipe`, which Python itself does not keep."""
    body = ast.parse(inspect.getsource(Recipe)).body[0]
    assert isinstance(body, ast.ClassDef)
    texts: dict[str, str] = {}
    name = None
    for statement in body.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name = statement.target.id
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and name:
            texts[name] = inspect.cleandoc(str(statement.value.value))
            name = None
        else:
            name = None
    return texts


def _options() -> list[tuple[str, Any, Any]]:
    texts, usual, group = _explanations(), RECIPES["small-data"], Group("Recipe")
    options = []
    for one in fields(Recipe):
        default = getattr(usual, one.name)
        said = (
            f"{texts.get(one.name, '')} [small-data: {default}]".strip()
            if default != ""
            else texts.get(one.name)
        )
        choices = tuple(filter(None, getattr(one.type, "__args__", ())))  # "" is what not giving it means
        kind = Literal[choices] if choices else one.type
        kind = Annotated[kind | None, Parameter(help=said, group=group)]  # type: ignore[operator]
        options.append((one.name, kind, field(default=None)))
    return options


@dataclass(frozen=True)
class _Given:
    """What the command line said; None where it said nothing."""

    def given(self) -> dict[str, Any]:
        """The fields that were given."""
        return {one.name: value for one in fields(self) if (value := getattr(self, one.name)) is not None}


if TYPE_CHECKING:
    RecipeOptions = _Given
else:
    RecipeOptions = make_dataclass("RecipeOptions", _options(), bases=(_Given,), frozen=True)
    RecipeOptions.__module__ = (
        __name__  # else it looks like a class of the standard library, which has no options
    )
