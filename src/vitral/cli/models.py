"""`vitral models`: what can be trained."""

from vitral.cli.output import print_result, table


def models(*, json: bool = False) -> int:
    """List the architectures, and where pretrained weights come from.

    Any size (mini, tiny, small, base, large, huge, giant, gigantic) goes with any patch and image size that fit:
    vit_SIZE_patchP_IMAGE. Parameters and multiply-adds are for 1000 classes.

    Args:
        json: Print the list as JSON.
    """
    from vitral.model import config_for, model_names
    from vitral.model.summary import summarise

    found = []
    for name in model_names():
        config = config_for(name)
        size = summarise(config)
        found.append(
            {
                "name": name,
                "image_size": list(config.image_size),
                "patch_size": list(config.patch_size),
                "layers": config.layers,
                "dim": config.dim,
                "heads": config.heads,
                "parameters": size.parameters,
                "multiply_adds": size.multiply_adds,
            }
        )

    def text(console) -> None:
        headings = ["model", "layers", "dim", "heads", "parameters (M)", "multiply-adds (G)"]
        rows = [
            [m["name"], m["layers"], m["dim"], m["heads"], m["parameters"] / 1e6, m["multiply_adds"] / 1e9]
            for m in found
        ]
        console.print(table(headings, rows))
        console.print()
        console.print("vitral train DATA --model NAME trains one of these from random weights.")
        console.print(
            "vitral train DATA --from RUN goes on from an earlier run's weights; those of other origin"
        )
        console.print("cannot be read yet.")

    print_result(found, json, text)
    return 0
