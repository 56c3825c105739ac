"""`vitral summary`: a model layer by layer."""

from pathlib import Path
from typing import Any

from vitral.cli.output import print_result, table


def summary(
    model: str,
    /,
    *,
    image_size: int | None = None,
    num_classes: int | None = None,
    channels: int | None = None,
    json: bool = False,
) -> int:
    """Show a model layer by layer: shapes, parameters, multiply-adds.

    Shapes and multiply-adds are for one image; the multiply-adds are those of all matrix products, attention's too.

    Args:
        model: MODEL by name, or WEIGHTS such as a run folder.
        image_size: Side of the images in pixels; default: the model's own.
        num_classes: Classes of the head; default: the weights' own, 1000 for a MODEL.
        channels: Channels of the images; default: the model's own, 3 for a MODEL.
        json: Print the layers as JSON.
    """
    from vitral.model import config_for
    from vitral.model.summary import summarise

    if Path(model).exists():
        from vitral.weights import find_checkpoint, read_config

        config = read_config(find_checkpoint(model))[0]
    else:
        config = config_for(model)
    asked: dict[str, Any] = {"image_size": image_size, "num_classes": num_classes, "channels": channels}
    config = config.replace(**{name: value for name, value in asked.items() if value is not None})
    found = summarise(config)
    document = {
        "architecture": config.to_dict(),
        "layers": [vars(layer) | {"output_shape": list(layer.output_shape)} for layer in found.layers],
        "parameters": found.parameters,
        "multiply_adds": found.multiply_adds,
    }

    def text(console) -> None:
        last = f"blocks.{config.layers - 1}."
        rows: list[list[Any]] = []
        for layer in found.layers:
            shape = " × ".join(map(str, layer.output_shape))
            name, times = layer.name, 1
            if name.startswith("blocks."):
                # All blocks are alike: the first one stands for them.
                if not name.startswith("blocks.0."):
                    continue
                name, times = name.replace("blocks.0.", f"blocks.0…{last[7:]}"), config.layers
            rows.append([name, times, shape, layer.parameters, layer.multiply_adds])
        rows.append(["all", None, "", found.parameters, found.multiply_adds])
        console.print(table(["layer", "times", "output", "parameters", "multiply-adds"], rows))

    print_result(document, json, text)
    return 0
