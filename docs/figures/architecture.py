"""Draw figure 1 of the guide, docs/en/architecture.svg and docs/pt/architecture.svg.

`python docs/figures/architecture.py` writes both. Portrait and 360 units wide, so that it can be read on a telephone.
The shapes are those of ViT-B/16 with three classes.
"""

from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 360, 908
INK, MUTED, LINE = "#1b1f24", "#4b5563", "#6b7280"
BLUE, GREEN, ORANGE, PURPLE = "#cfe6f5", "#cdebdf", "#fbdcc4", "#ead6e4"  # one for each equation
STRONG = {BLUE: "#00557f", GREEN: "#00664a", ORANGE: "#9a4300", PURPLE: "#84406b"}

WORDS = {
    "en": {
        "title": "A Vision Transformer from the picture to the answer",
        "desc": "From top to bottom: a picture is cut into patches, each is flattened and embedded by a dense layer; "
        "a class token is put in front and positions are added (equation 1). Twelve encoder blocks follow, each with "
        "layer norm, multi-head self-attention and a sum (equation 2), then layer norm, MLP and a sum (equation 3). "
        "After the last layer norm the class token (equation 4) goes into a dense head, one number for each class.",
        "picture": "picture",
        "cut": "cut into patches, flatten",
        "embedding": "patch embedding (dense)",
        "tokens": "class token in front, positions added",
        "class": "class",
        "encoder": "encoder block, 12 times",
        "norm": "layer norm",
        "attention": "multi-head self-attention",
        "last": "last layer norm, class token only",
        "head": "head (dense)",
        "classes": ("pizza", "steak", "sushi"),
        "equation": "equation",
    },
    "pt": {
        "title": "Um Vision Transformer, da imagem à resposta",
        "desc": "De cima para baixo: a imagem é cortada em patches, cada um é achatado e passa por uma camada densa; "
        "um token de classe entra na frente e as posições são somadas (equação 1). Seguem doze blocos do encoder, cada "
        "um com normalização, autoatenção de várias cabeças e uma soma (equação 2), depois normalização, MLP e uma "
        "soma (equação 3). Depois da última normalização, o token de classe (equação 4) entra em uma cabeça densa, que "
        "dá um número para cada classe.",
        "picture": "imagem",
        "cut": "cortar em patches, achatar",
        "embedding": "embedding (camada densa)",
        "tokens": "token de classe na frente, soma das posições",
        "class": "classe",
        "encoder": "bloco do encoder, 12 vezes",
        "norm": "normalização (layer norm)",
        "attention": "autoatenção de várias cabeças",
        "last": "última normalização, só o token de classe",
        "head": "cabeça (densa)",
        "classes": ("pizza", "steak", "sushi"),
        "equation": "equação",
    },
}

# The picture, in nine patches: sky, a sun, hills.
PATCHES = ("#8ec9ee", "#8ec9ee", "#f6c344", "#a9d7f2", "#7fb77e", "#a9d7f2", "#5b9a5f", "#3f7d4a", "#5b9a5f")


def main() -> None:
    """Write both figures."""
    for language, words in WORDS.items():
        path = DOCS / language / "architecture.svg"
        path.parent.mkdir(exist_ok=True)
        path.write_text(drawing(language, words), encoding="utf-8")
        print(path.relative_to(DOCS.parent))


def drawing(language: str, words: dict) -> str:
    """The whole figure, from top to bottom."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-labelledby="title desc" lang="{"pt-BR" if language == "pt" else "en"}" '
        'font-family="system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif">',
        f'<title id="title">{words["title"]}</title>',
        f'<desc id="desc">{words["desc"]}</desc>',
        f'<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="{LINE}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="14" fill="#fbfaf7"/>',
    ]

    # Equation 1: the picture, its patches, the tokens.
    parts += [band(12, 284, BLUE, f"{words['equation']} 1", 36)]
    parts += [square(40 + 26 * (n % 3), 30 + 26 * (n // 3), 26, colour) for n, colour in enumerate(PATCHES)]
    parts += [text(134, 62, words["picture"], weight=600), shape(134, 82, "(3, 224, 224)")]
    parts += [arrow(79, 110, 79, 140), text(94, 130, words["cut"], size=13)]
    for n, colour in enumerate(PATCHES[:5]):
        parts += [square(28 + 30 * n, 144, 24, colour)]
    parts += [text(184, 161, "… 196", size=14), shape(236, 161, "(196, 768)"), arrow(79, 170, 79, 184)]
    parts += [
        box(24, 186, 220, 32, words["embedding"]),
        shape(252, 207, "(196, 768)"),
        arrow(79, 218, 79, 234),
    ]
    for n, label in enumerate((words["class"], "1", "2", "3")):
        width = 52 if n == 0 else 26
        left = 28 if n == 0 else 54 + 31 * n
        parts += [token(left, 236, width, label, first=n == 0)]
    parts += [text(184, 254, "… 196", size=14), shape(236, 254, "(197, 768)")]
    parts += [text(28, 280, words["tokens"], size=12.5, fill=MUTED)]
    parts += [arrow(120, 296, 120, 340)]

    # Equations 2 and 3: the encoder block.
    parts += [
        f'<rect x="12" y="324" width="336" height="354" rx="12" fill="none" stroke="{LINE}" '
        'stroke-width="1.5" stroke-dasharray="5 4"/>',
        f'<rect x="132" y="314" width="{7.4 * len(words["encoder"]) + 8:.0f}" height="20" fill="#fbfaf7"/>',
        text(136, 329, words["encoder"], size=13, weight=600),
    ]
    parts += [*half(342, GREEN, f"{words['equation']} 2", words["norm"], words["attention"])]
    parts += [*half(510, ORANGE, f"{words['equation']} 3", words["norm"], "MLP: 768, 3072, 768")]

    # Equation 4 and the head.
    parts += [band(700, 92, PURPLE, f"{words['equation']} 4", 780)]
    parts += [arrow(120, 678, 120, 708), box(24, 710, 312, 32, words["last"]), arrow(120, 742, 120, 758)]
    parts += [
        token(94, 760, 52, words["class"], first=True),
        shape(156, 778, "(768)"),
        arrow(120, 786, 120, 814),
    ]
    parts += [box(24, 816, 192, 32, words["head"]), shape(228, 837, "(3)"), arrow(120, 848, 120, 866)]
    parts += [text(120, 888, ", ".join(words["classes"]) + " ?", weight=600, anchor="middle")]
    return "\n".join([*parts, "</svg>", ""])


def half(top: float, colour: str, equation: str, norm: str, inside: str) -> list[str]:
    """One half of an encoder block: norm, what it is about, and the sum with what came in."""
    around = (
        f'<path d="M120 {top + 10} H42 V{top + 137} H110" fill="none" stroke="{LINE}" stroke-width="1.8" '
    )
    return [
        band(top, 158, colour, equation, top + 150),
        arrow(120, top, 120, top + 26),
        around + 'marker-end="url(#tip)"/>',
        box(62, top + 28, 252, 32, norm),
        arrow(120, top + 60, 120, top + 76),
        box(62, top + 78, 252, 32, inside),
        arrow(120, top + 110, 120, top + 127),
        f'<circle cx="120" cy="{top + 137}" r="9" fill="#ffffff" stroke="{INK}" stroke-width="1.5"/>',
        f'<path d="M114.5 {top + 137}h11M120 {top + 131.5}v11" stroke="{INK}" stroke-width="1.6"/>',
        shape(138, top + 142, "(197, 768)"),
        f'<path d="M120 {top + 146}V{top + 160}" stroke="{LINE}" stroke-width="1.8"/>',
    ]


def band(top: float, height: float, colour: str, label: str, baseline: float) -> str:
    """The coloured ground of an equation, with its number at the right."""
    ground = f'<rect x="16" y="{top}" width="328" height="{height}" rx="10" fill="{colour}"/>'
    return ground + text(334, baseline, label, size=13, fill=STRONG[colour], weight=600, anchor="end")


def box(left: float, top: float, width: float, height: float, label: str) -> str:
    """A layer, with its name."""
    ground = (
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="6" fill="#ffffff" '
        f'stroke="{INK}" stroke-width="1.3"/>'
    )
    return ground + text(left + width / 2, top + height / 2 + 5, label, size=13.5, anchor="middle")


def token(left: float, top: float, width: float, label: str, first: bool) -> str:
    """A token of the sequence; the class token, the first, has a colour of its own."""
    fill = "#fff3c4" if first else "#ffffff"
    ground = (
        f'<rect x="{left}" y="{top}" width="{width}" height="26" rx="5" fill="{fill}" stroke="{INK}" '
        'stroke-width="1.3"/>'
    )
    return ground + text(left + width / 2, top + 18, label, size=13, anchor="middle")


def square(left: float, top: float, side: float, colour: str) -> str:
    """A patch."""
    return (
        f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="{colour}" stroke="#ffffff" '
        'stroke-width="1.5"/>'
    )


def arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    """From one point to another."""
    return (
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{LINE}" stroke-width="1.8" '
        'marker-end="url(#tip)"/>'
    )


def shape(left: float, baseline: float, label: str) -> str:
    """The shape of what passes here."""
    return text(left, baseline, label, size=13, fill=MUTED)


def text(
    x: float,
    y: float,
    label: str,
    size: float = 14,
    fill: str = INK,
    weight: int = 400,
    anchor: str = "start",
) -> str:
    """Words, from a point on or around it."""
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{label}</text>'
    )


if __name__ == "__main__":
    main()
