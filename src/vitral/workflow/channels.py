"""How a network sees images that are no 8-bit pictures: their range, mean and deviation, and its filters for them."""

from collections.abc import Callable
from dataclasses import replace

from vitral.data import LabelledImages
from vitral.data.statistics import statistics
from vitral.errors import UsageError
from vitral.images import Preprocessing, same_values
from vitral.language import Sentence
from vitral.training import Recipe
from vitral.weights import Checkpoint, Overrides, adapt_filters

# Fields of a recipe for which an image must be RGB of 8 bits, and what each of them is when left out.
NEED_RGB = {"randaugment": 0, "color_jitter": 0.0}


def preprocessing_for(
    data: LabelledImages,
    base: Preprocessing,
    *,
    range: tuple[float, float] | None = None,
    display_bands: tuple[int, ...] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Preprocessing, Sentence]:
    """`base` for the values of `data`, taken from its training images, and a sentence about them.

    Args:
        data: its training images are looked at.
        base: size, fit and interpolation.
        range, display_bands: as the user asked for.
        progress: called with the number of images looked at so far and in all.

    Raises:
        DataError: the training images' values do not tell a range.
        ConfigError: there are no such bands.
    """
    pictures = data.dtype is None
    found = statistics(data, (0.0, 255.0) if pictures else range, progress)
    low, high = (f"{value:.6g}" for value in found.range)
    why, porque = (
        "the 0.5 and 99.5 percentiles of the training images",
        "percentis 0,5 e 99,5 das imagens de treino",
    )
    if pictures or range is not None:
        why, porque = ("black and white", "preto e branco") if pictures else ("asked for", "a pedido")
    said = Sentence(
        f"values from {low} to {high} ({why}) become 0 to 1; mean and standard deviation are each channel's in the "
        "training images",
        f"valores de {low.replace('.', ',')} a {high.replace('.', ',')} ({porque}) viram 0 a 1; média e desvio padrão "
        "são os de cada canal nas imagens de treino",
    )
    values = {"range": found.range, "mean": found.mean, "std": found.std, "dtype": data.dtype}
    return replace(base, channels=data.channels, display_bands=display_bands, **values), said


def fit_channels(
    checkpoint: Checkpoint,
    data: LabelledImages,
    said: Overrides,
    *,
    range: tuple[float, float] | None = None,
    display_bands: tuple[int, ...] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Checkpoint, list[str]]:
    """A checkpoint that takes the images of `data` as they are, and what to say about it.

    Pictures are left to a network of pictures, in its own grey or RGB. A network that was trained on as many channels
    of the same type keeps its range, mean and deviation. Any other network gets those of the training images, and
    filters for their channels as `adapt_filters` makes them.

    Args:
        checkpoint: of any origin.
        data: its training images are looked at where the checkpoint's own values do not apply.
        said: what the user says about the weights.
        range, display_bands, progress: as for `preprocessing_for`.

    Raises:
        UsageError: a mean or deviation was said for a network whose own do not apply.
        DataError, ConfigError: as `preprocessing_for`.
    """
    own = checkpoint.preprocessing
    if data.dtype is None and not own.bands:
        return checkpoint, [
            _other_colours(own.channels, data.channels)
        ] if own.channels != data.channels else []
    same = own.bands and own.channels == data.channels and same_values(own.dtype or "uint8", data.dtype or "")
    shown = display_bands or (own.display_bands if same else None)
    if same and range in (None, own.range):
        kept = Sentence(
            "range, mean and standard deviation of the images' values are those of the weights",
            "faixa, média e desvio padrão dos valores das imagens são os dos pesos",
        )
        return replace(checkpoint, preprocessing=replace(own, display_bands=shown)), [kept]
    if said.mean is not None or said.std is not None:
        raise UsageError(
            "--mean and --std say what the weights' own images went through, and for these images they are taken from "
            "the training split: leave them out"
        )
    preprocessing, notice = preprocessing_for(
        data, own_geometry(own), range=range, display_bands=shown, progress=progress
    )
    notices: list[str] = [notice]
    colours = None
    if not own.bands and own.channels == 3 and display_bands and len(set(display_bands)) == 3:
        colours = tuple(band - 1 for band in display_bands)
    adapted = adapt_filters(checkpoint, data.channels, colours)
    if adapted is not checkpoint:
        notices.append(_adapted(own.channels, data.channels, display_bands if colours else None))
    return replace(adapted, preprocessing=preprocessing), notices


def own_geometry(preprocessing: Preprocessing) -> Preprocessing:
    """Size, fit and interpolation alone, the rest as for pictures."""
    kept = {name: getattr(preprocessing, name) for name in ("size", "fit", "interpolation", "crop_share")}
    return Preprocessing(**kept)


def without_rgb_augmentation(recipe: Recipe, data: LabelledImages) -> tuple[Recipe, list[str]]:
    """The recipe without what needs 8-bit RGB, for images that are none, and which fields were left out."""
    asked = [name for name, nothing in NEED_RGB.items() if getattr(recipe, name) != nothing]
    if data.dtype is None or not asked:
        return recipe, []
    said = Sentence(
        f"left out, as they change the colours of 8-bit RGB: {', '.join(asked)}",
        f"fora da receita, pois mexem nas cores de RGB de 8 bits: {', '.join(asked)}",
    )
    return recipe.replace(**{name: NEED_RGB[name] for name in asked}), [said]


def _other_colours(wanted: int, found: int) -> Sentence:
    words, palavras = {1: "grey", 3: "RGB"}, {1: "em tons de cinza", 3: "em RGB"}
    return Sentence(
        f"the images are {words[found]} and the network sees them as {words[wanted]}",
        f"as imagens são {palavras[found]} e a rede as vê {palavras[wanted]}",
    )


def _adapted(before: int, now: int, colours: tuple[int, ...] | None) -> Sentence:
    own, proprios = "", ""
    if colours:
        listed = ", ".join(map(str, colours))
        own = f" (channels {listed} those of red, green, blue)"
        proprios = f" (os canais {listed} os de vermelho, verde, azul)"
    return Sentence(
        f"the weights' filters for {before} channels are fitted to {now}: each channel gets their mean{own} times "
        f"{before}/{now}, so equal channels give what they gave before",
        f"os filtros dos pesos para {before} canais são adaptados a {now}: cada canal recebe a média deles{proprios} "
        f"vezes {before}/{now}, e canais iguais dão o mesmo que antes",
    )
