"""What people read of looks inside a network, in English and Brazilian Portuguese; numbers are the reports' wording."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from vitral.inspection import HIGH_NORM
from vitral.language import Language, said_in
from vitral.reporting.texts import Wording, wording_of

ENGLISH = {
    # figures
    "filters_title": "First {count} principal components of {filters} embedding filters: {share} of their variance",
    "positions_title": "Similarity of position embeddings, {rows} × {columns} patches",
    "positions_subset": "; {shown_rows} × {shown_columns} of them shown",
    "patch_row": "patch row",
    "patch_column": "patch column",
    "cosine": "cosine similarity",
    "layer": "layer",
    "distance_unit": "mean attention distance (px)",
    "head": "one head",
    "uniform": "looking at all patches alike: {distance} px",
    "distance_title": "Attention distance, mean of {images}",
    "image_count": "{count} image|{count} images",
    "norm_unit": "L2 norm of a token",
    "norms_title": "Norms of tokens by layer, {images}",
    "patches_median": "patches: median, quartiles",
    "patches_99": "patches: 99th percentile",
    "patches_maximum": "patches: maximum",
    "high_bound": "{times} × median",
    "class_token": "class token: median",
    "distillation_token": "distillation token: median",
    "registers": "registers: median",
    "norm_map": "last layer",
    "components_title": "First three principal components of the patch features: {share} of their variance",
    "accuracy_unit": "accuracy on the {split} images (%)",
    "probe_title": "Linear probe of each layer, {images}",
    "interval": "accuracy, 95% interval",
    "majority": "always the commonest class: {value}",
    "train": "training",
    "validation": "validation",
    "test": "test",
    # lines
    "said_filters": "{count} components hold {share} of the variance of {filters} filters",
    "said_positions": "the most similar other patch touches a side in {four} of the patches (chance: {chance}); "
    "similarity to own row {row}, own column {column}, elsewhere {elsewhere}",
    "said_distance": "heads look {first} px far in layer 0, {last} px in layer {final}, mean of {images}; "
    "at all patches alike: {uniform} px",
    "from_to": "{low} to {high}",
    "said_norms": "last layer: median {median}, maximum {maximum}; {share} of the patches above "
    "{times} times the median",
    "said_components": "three components hold {share} of the variance of the last layer's features",
    "said_probe": "highest in layer {layer}: {accuracy} of {images} ({low} to {high}, 95% interval); "
    "layer {final}: {last}",
    "split_images": "{count} {split} image|{count} {split} images",
    "left_out": "left out: {reason}",
    "bad_image": "{path}: error: {reason}",
}

PORTUGUESE = {
    "filters_title": "As {count} primeiras componentes principais de {filters} filtros: {share} da variância",
    "positions_title": "Semelhança dos embeddings de posição, {rows} × {columns} patches",
    "positions_subset": "; mostrados {shown_rows} × {shown_columns}",
    "patch_row": "linha do patch",
    "patch_column": "coluna do patch",
    "cosine": "semelhança (cosseno)",
    "layer": "camada",
    "distance_unit": "distância média de atenção (px)",
    "head": "uma cabeça",
    "uniform": "olhando todos os patches por igual: {distance} px",
    "distance_title": "Distância de atenção, média de {images}",
    "image_count": "{count} imagem|{count} imagens",
    "norm_unit": "norma L2 de um token",
    "norms_title": "Normas dos tokens por camada, {images}",
    "patches_median": "patches: mediana, quartis",
    "patches_99": "patches: percentil 99",
    "patches_maximum": "patches: máximo",
    "high_bound": "{times} × mediana",
    "class_token": "token de classe: mediana",
    "distillation_token": "token de destilação: mediana",
    "registers": "registradores: mediana",
    "norm_map": "última camada",
    "components_title": "Três primeiras componentes principais dos atributos dos patches: {share} da variância",
    "accuracy_unit": "acurácia nas imagens de {split} (%)",
    "probe_title": "Sonda linear em cada camada, {images}",
    "interval": "acurácia, intervalo de 95%",
    "majority": "sempre a classe mais comum: {value}",
    "train": "treino",
    "validation": "validação",
    "test": "teste",
    "said_filters": "{count} componentes têm {share} da variância de {filters} filtros",
    "said_positions": "o outro patch mais semelhante é vizinho de lado em {four} dos patches (ao acaso: {chance}); "
    "semelhança com a própria linha {row}, com a própria coluna {column}, com o resto {elsewhere}",
    "said_distance": "as cabeças olham {first} px longe na camada 0, {last} px na camada {final}, média de {images}; "
    "todos os patches por igual: {uniform} px",
    "from_to": "de {low} a {high}",
    "said_norms": "última camada: mediana {median}, máximo {maximum}; {share} dos patches acima de "
    "{times} vezes a mediana",
    "said_components": "três componentes têm {share} da variância dos atributos da última camada",
    "said_probe": "a mais alta na camada {layer}: {accuracy} de {images} (intervalo de 95%: de {low} a {high}); "
    "camada {final}: {last}",
    "split_images": "{count} imagem de {split}|{count} imagens de {split}",
    "left_out": "fora: {reason}",
    "bad_image": "{path}: erro: {reason}",
}

_WORDS: dict[str, dict[str, str]] = {"en": ENGLISH, "pt": PORTUGUESE}


def looks_wording(language: Language) -> Wording:
    """The texts of looks, with numbers as that language writes them; an unknown one is a UsageError."""
    return replace(wording_of(language), words=_WORDS[language])


def said_of(look: str, found: Mapping[str, Any], language: Language) -> str:
    """What a look shows in one line, or why it is left out.

    Args:
        look: its name.
        found: an inspection as inspection.json keeps it.
        language: of the line.
    """
    words = looks_wording(language)
    if look in found["left_out"]:
        return words.say("left_out", reason=said_in(language, found["left_out"][look]))
    return _LINES[look](found[look], words)


def _of_filters(part: Mapping[str, Any], words: Wording) -> str:
    share = words.percent(sum(part["variance"]))
    filters = words.number(part["filters"])
    return words.say("said_filters", count=part["components"], share=share, filters=filters)


def _of_positions(part: Mapping[str, Any], words: Wording) -> str:
    means = {"row": part["same_row"], "column": part["same_column"], "elsewhere": part["elsewhere"]}
    said = {name: "–" if value is None else words.number(value, 3) for name, value in means.items()}
    four, chance = words.percent(part["nearest_in_4"]), words.percent(part["chance_4"])
    return words.say("said_positions", four=four, chance=chance, **said)


def _of_distance(part: Mapping[str, Any], words: Wording) -> str:
    def heads(values: list[float | None]) -> str:
        told = [value for value in values if value is not None]
        return (
            words.say("from_to", low=words.number(min(told)), high=words.number(max(told))) if told else "–"
        )

    first, last = part["layers"][0], part["layers"][-1]
    images = words.counted("image_count", part["images"])
    uniform = words.number(part["uniform"])
    final = len(part["layers"]) - 1
    return words.say(
        "said_distance", first=heads(first), last=heads(last), final=final, images=images, uniform=uniform
    )


def _of_norms(part: Mapping[str, Any], words: Wording) -> str:
    last = part["patches"][-1]
    values = {name: words.number(last[name], 1) for name in ("median", "maximum")}
    return words.say(
        "said_norms", share=words.percent(last["high_share"], 2), times=words.significant(HIGH_NORM), **values
    )


def _of_components(part: Mapping[str, Any], words: Wording) -> str:
    return words.say("said_components", share=words.percent(sum(part["variance"])))


def _of_probe(part: Mapping[str, Any], words: Wording) -> str:
    layers = part["layers"]
    best = max(layers, key=lambda one: one["accuracy"])
    low, high = map(words.percent, best["accuracy_interval"])
    return words.say(
        "said_probe",
        layer=best["layer"],
        accuracy=words.percent(best["accuracy"]),
        images=words.counted("split_images", part["images"], split=words[part["split"]]),
        low=low,
        high=high,
        last=words.percent(layers[-1]["accuracy"]),
        final=layers[-1]["layer"],
    )


_LINES: dict[str, Callable[[Mapping[str, Any], Wording], str]] = {
    "filters": _of_filters,
    "positions": _of_positions,
    "distance": _of_distance,
    "norms": _of_norms,
    "components": _of_components,
    "probe": _of_probe,
}
