"""Fine-tuning that starts from the linear probe of the frozen features (LP-FT, Kumar et al. 2022)."""

from dataclasses import replace

import numpy as np

from vitral.data import LabelledImages
from vitral.data.scan import Progress
from vitral.device import Compute
from vitral.language import Sentence
from vitral.runs.intervals import group_codes
from vitral.transfer import Extraction, ProbeRecipe, classifier_from, fit, make_backbone, poolings
from vitral.weights import Checkpoint, Overrides
from vitral.workflow.starting import Start

# What a frozen network computes without, so that its features are those that `vitral probe` keeps.
_NOTHING_RANDOM = {"dropout": 0.0, "attention_dropout": 0.0, "drop_path": 0.0}


def start_at_probe(
    start: Start,
    data: LabelledImages,
    compute: Compute,
    said: Overrides,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Start:
    """The same start with the network and the head that `vitral probe` would end with.

    Features of the training images are taken from the cache that probes use, or computed and kept there.

    Args:
        start: its head starts anew.
        data: with one label an image.
        compute: where and how the features are computed.
        said: what the user says about the weights; without a crop share all of the shorter side is seen, as by probes.
        seed: of the probe.
        progress: called with the number of images done and in all.
    """
    config = start.model.config
    preprocessing = replace(start.preprocessing, crop_share=said.crop_share or 1.0)
    frozen = Checkpoint(config.replace(**_NOTHING_RANDOM), preprocessing, (), start.model.state_dict())
    recipe = ProbeRecipe(pool=start.recipe.pool)
    choice = poolings(config, recipe)
    samples = data.split("train")
    layers = sorted({layer for pooling in choice for layer in pooling.layers})
    extraction = Extraction(make_backbone(frozen.model(), preprocessing, compute), data, samples, layers)
    extraction.run(progress=progress)
    fitted = fit(
        recipe,
        {pooling: extraction.pooled(pooling) for pooling in choice},
        np.array([sample.label for sample in samples]),
        len(data.class_names),
        groups=group_codes([sample.group for sample in samples]) if data.has_groups else None,
        seed=seed,
    )
    probed = classifier_from(frozen, fitted, data.class_names)
    random = {name: getattr(config, name) for name in _NOTHING_RANDOM}
    model = replace(probed, config=probed.config.replace(**random)).model()
    pool, count = fitted.pooling.pool, fitted.pooling.feature_layers
    said_so = Sentence(
        f"the head starts as the linear probe of the frozen features ({pool} of the last {count} layers)",
        f"a camada de saída parte da sonda linear sobre os atributos congelados ({pool} das últimas {count} camadas)",
    )
    return replace(start, model=model, preprocessing=preprocessing, notices=(*start.notices, said_so))
