"""Fine-tuning that starts from the linear probe of the frozen features (LP-FT, Kumar et al. 2022)."""

from collections.abc import Callable
from dataclasses import replace

from vitral.data import LabelledImages
from vitral.device import Compute
from vitral.language import Sentence
from vitral.transfer import ProbeRecipe, classifier_from, fit, make_backbone, poolings
from vitral.weights import Checkpoint, Overrides
from vitral.workflow.extracting import complete, extractions_of, lessons
from vitral.workflow.starting import Start

# What the head sees, in words.
_SEEN = {
    "token": ("class token", "token de classe"),
    "average": ("average of the patches", "média dos patches"),
    "token_average": ("class token and average of the patches", "token de classe e média dos patches"),
    "distilled": ("class and distillation token", "tokens de classe e de destilação"),
    "attention": ("attention pooling", "pooling por atenção"),
}

# What a frozen network computes without, so that its features are those that `vitral probe` keeps.
_NOTHING_RANDOM = {"dropout": 0.0, "attention_dropout": 0.0, "drop_path": 0.0}


def start_at_probe(
    start: Start,
    data: LabelledImages,
    compute: Compute,
    said: Overrides,
    *,
    seed: int = 0,
    progress: Callable[[int, int, int], None] | None = None,
) -> Start:
    """The same start with the network and the head that `vitral probe` would end with.

    Features of the training images, and of their mirrored selves where the training mirrors, are taken from the cache
    that probes use, or computed and kept there.

    Args:
        start: its head starts anew.
        data: with one label an image.
        compute: where and how the features are computed.
        said: what the user says about the weights; without a crop share all of the shorter side is seen, as by probes.
        seed: of the probe.
        progress: called with the number of images done, of all, and of those done that no cache had.
    """
    config = start.model.config
    preprocessing = replace(start.preprocessing, crop_share=said.crop_share or 1.0)
    frozen = Checkpoint(config.replace(**_NOTHING_RANDOM), preprocessing, (), start.model.state_dict())
    mirrors = start.recipe.flip in ("horizontal", "both")
    recipe = ProbeRecipe(pool=start.recipe.pool, flip="horizontal" if mirrors else "none")
    choice = poolings(config, recipe)
    backbone = make_backbone(frozen.model(), preprocessing, compute)
    parts = extractions_of(backbone, data, ["train"], choice, recipe)
    complete(parts, progress)
    taught = lessons(parts, data, choice)
    classes = len(data.class_names)
    fitted = fit(recipe, taught.features, taught.labels, classes, groups=taught.groups, seed=seed)
    probed = classifier_from(frozen, fitted, data.class_names)
    random = {name: getattr(config, name) for name in _NOTHING_RANDOM}
    model = replace(probed, config=probed.config.replace(**random)).model()
    english, portuguese = _SEEN[fitted.pooling.pool]
    count = fitted.pooling.feature_layers
    said_so = Sentence(
        f"the head starts as the linear probe of the frozen features ({english}, "
        f"{'last layer' if count == 1 else f'last {count} layers'})",
        f"a camada de saída parte da sonda linear sobre os atributos congelados ({portuguese}, "
        f"{'última camada' if count == 1 else f'últimas {count} camadas'})",
    )
    return replace(start, model=model, preprocessing=preprocessing, notices=(*start.notices, said_so))
