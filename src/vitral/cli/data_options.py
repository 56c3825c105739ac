"""How DATA is read and divided, as options of the commands that learn from it."""

from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Group, Parameter

GROUP = Group("Reading and dividing DATA")


@dataclass(frozen=True)
class ReadingOptions:
    """What becomes of the images before anything learns from them."""

    validation: Annotated[float | None, Parameter(group=GROUP)] = None
    """Share of the training images to set aside and choose on, where DATA has test but no validation, or is divided into folds."""  # noqa: E501
    split_seed: Annotated[int, Parameter(group=GROUP)] = 0
    """Another number divides DATA without splits, or into folds, in another way."""
    group_by: Annotated[str | None, Parameter(group=GROUP)] = None
    """"folder" or a regular expression on the path: members of a group stay on one side of the split."""
    columns: Annotated[str | None, Parameter(group=GROUP)] = None
    """A csv's other headings: path=id_code,label=diagnosis."""
    data_root: Annotated[str | None, Parameter(group=GROUP)] = None
    """Where the files of torchvision:NAME are."""
    strict: Annotated[bool, Parameter(group=GROUP)] = False
    """Stop at a single bad file, instead of listing it and going on without it."""
    range: Annotated[str | None, Parameter(group=GROUP, allow_leading_hyphen=True)] = None
    """LOW,HIGH: the values that become 0 and 1, of images that are no 8-bit pictures in grey or RGB; default: the 0.5 and 99.5 percentiles of the training images. Where it is said, 8-bit pictures are read band by band, too."""  # noqa: E501
    display_bands: Annotated[str | None, Parameter(group=GROUP)] = None
    """Which bands of such images are shown as red, green and blue, such as 3,2,1, or one in grey; default: the first three, or the first. Where it is said, weights for RGB keep these colours' filters."""  # noqa: E501

    def given(self) -> dict[str, Any]:
        """The options as keywords of `vitral.train` and `vitral.probe`."""
        return dict(vars(self))


@dataclass(frozen=True)
class DataOptions(ReadingOptions):
    """The same of commands that leave a run, or several."""

    folds: Annotated[int | None, Parameter(group=GROUP)] = None
    """Cross-validation: divide all images into so many parts and test each by a run that learns from the others, in RUN/fold-1, RUN/fold-2, and so on; DATA's own splits are joined. The same DATA and --split-seed give the same folds to "vitral train" and "vitral probe"."""  # noqa: E501


AS_IT_IS = DataOptions()
