"""DATA: from what the user names to labelled images in splits, ready to train and measure on."""

from vitral.data.folds import count_folds, fold
from vitral.data.labelled import (
    SPLITS,
    BadFile,
    LabelledImages,
    LeftOut,
    Sample,
    Sizes,
    check_trainable,
    label_names,
    label_text,
    without_seen,
)
from vitral.data.opening import open_data
from vitral.data.splits import SplitRow, read_splits, write_splits

__all__ = [
    "SPLITS",
    "BadFile",
    "LabelledImages",
    "LeftOut",
    "Sample",
    "Sizes",
    "SplitRow",
    "check_trainable",
    "count_folds",
    "fold",
    "label_names",
    "label_text",
    "open_data",
    "read_splits",
    "without_seen",
    "write_splits",
]
