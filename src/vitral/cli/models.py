"""`vitral models`: what can be trained, and where to start from."""

from typing import Any

from vitral.cli.output import print_result, table


def models(*, json: bool = False) -> int:
    """List the architectures, and pretrained weights to start from.

    Any size (mini, tiny, small, base, large, huge, giant, gigantic) goes with any patch and image size that fit:
    vit_SIZE_patchP_IMAGE. Parameters and multiply-adds are for 1000 classes. The weights are some of many: any that a
    hub or a folder has in one of the known families will do.

    Args:
        json: Print the list as JSON.
    """
    from vitral.model import model_names
    from vitral.weights.catalogue import CATALOGUE, DEFAULT

    architectures: list[dict[str, Any]] = [{"name": name} | _sizes(name) for name in model_names()]
    pretrained: list[dict[str, Any]] = [
        {"name": one.weights} | _sizes(one.model) | {"licence": one.licence, "trained_on": one.trained_on}
        for one in CATALOGUE
    ]

    def text(console) -> None:
        headings = ["model", "layers", "dim", "heads", "parameters (M)", "multiply-adds (G)"]
        rows = [
            [m["name"], m["layers"], m["dim"], m["heads"], m["parameters"] / 1e6, m["multiply_adds"] / 1e9]
            for m in architectures
        ]
        console.print(table(headings, rows))
        console.print()
        headings = ["weights", "px", "parameters (M)", "multiply-adds (G)", "licence", "trained on"]
        rows = [
            [
                m["name"], m["image_size"][0], m["parameters"] / 1e6, m["multiply_adds"] / 1e9, m["licence"],
                m["trained_on"],
            ]
            for m in pretrained
        ]  # fmt: skip
        console.print(table(headings, rows))
        console.print()
        console.print("vitral train DATA --model NAME trains an architecture from random weights.")
        console.print(f"vitral train DATA --from WEIGHTS fine-tunes; without --from, {DEFAULT}.")
        console.print("hf:OWNER/NAME, timm:NAME, torchvision:NAME, files and folders are WEIGHTS too.")

    print_result(architectures + pretrained, json, text)
    return 0


def _sizes(model: str) -> dict[str, Any]:
    from vitral.model import config_for
    from vitral.model.summary import summarise

    config = config_for(model)
    size = summarise(config)
    return {
        "image_size": list(config.image_size),
        "patch_size": list(config.patch_size),
        "layers": config.layers,
        "dim": config.dim,
        "heads": config.heads,
        "parameters": size.parameters,
        "multiply_adds": size.multiply_adds,
    }
