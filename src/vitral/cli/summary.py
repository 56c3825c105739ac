"""`vitral summary`: a model layer by layer, and of WEIGHTS what was found in them."""

from typing import Annotated, Any

from cyclopts import Parameter

from vitral.cli.output import number, print_result, table
from vitral.cli.weights_options import NOTHING_SAID, WeightsOptions, size_from


def summary(
    model: str,
    /,
    *,
    image_size: str | None = None,
    num_classes: int | None = None,
    channels: int | None = None,
    json: bool = False,
    said: Annotated[WeightsOptions, Parameter(name="*")] = NOTHING_SAID,
) -> int:
    """Show a model layer by layer, and of WEIGHTS what was found in them.

    Shapes and multiply-adds are for one image; the multiply-adds are those of all matrix products, attention's too.
    Of WEIGHTS it also shows the family, the preprocessing, the classes, and what was taken for granted because no file
    settles it; an option with the same name says otherwise.

    Args:
        model: MODEL by name, or WEIGHTS: a run folder, a file or folder of other origin, hf:OWNER/NAME, timm:NAME,
            torchvision:NAME.
        image_size: Pixels, or HEIGHTxWIDTH; default: the model's own.
        num_classes: Classes of the head; default: the weights' own, 1000 for a MODEL.
        channels: Channels of the images; default: the model's own, 3 for a MODEL.
        json: Print all of it as JSON.
        said: About weights of other origin.
    """
    from vitral.errors import UsageError
    from vitral.model import config_for
    from vitral.model.summary import summarise

    size = size_from(image_size)
    found: dict[str, Any] = {}
    try:
        config = config_for(model)
    except UsageError as unknown:
        from vitral.weights import is_weights, overrides_from, read_checkpoint

        if not is_weights(model):
            raise unknown from None
        checkpoint = read_checkpoint(model, overrides_from(said.given()), size)
        config, found = checkpoint.config, _findings(model, checkpoint)
    asked: dict[str, Any] = {"image_size": size, "num_classes": num_classes, "channels": channels}
    asked["merge"] = said.merge
    config = config.replace(**{name: value for name, value in asked.items() if value is not None})
    if found:
        found["preprocessing"]["size"] = list(config.image_size)
    sizes = summarise(config)
    document = found | {
        "architecture": config.to_dict(),
        "layers": [vars(layer) | {"output_shape": list(layer.output_shape)} for layer in sizes.layers],
        "parameters": sizes.parameters,
        "multiply_adds": sizes.multiply_adds,
    }

    def text(console) -> None:
        if found:
            console.print(table(["", ""], _about(document)))
            console.print()
        last = f"blocks.{config.layers - 1}."
        rows: list[list[Any]] = []
        for layer in sizes.layers:
            shape = " × ".join(map(str, layer.output_shape))
            name, times = layer.name, 1
            if name.startswith("blocks.") and not config.merge:
                # All blocks are alike: the first one stands for them.
                if not name.startswith("blocks.0."):
                    continue
                name, times = name.replace("blocks.0.", f"blocks.0…{last[7:]}"), config.layers
            rows.append([name, times, shape, layer.parameters, layer.multiply_adds])
        rows.append(["all", None, "", sizes.parameters, sizes.multiply_adds])
        console.print(table(["layer", "times", "output", "parameters", "multiply-adds"], rows))

    print_result(document, json, text)
    return 0


def _findings(weights: str, checkpoint: Any) -> dict[str, Any]:
    """What stands beside the architecture."""
    origin, thresholds = checkpoint.origin, checkpoint.thresholds
    return {
        "weights": weights,
        "file": str(checkpoint.file),
        "family": origin.family if origin is not None else "vitral",
        "preprocessing": checkpoint.preprocessing.to_dict(),
        "class_names": list(checkpoint.class_names),
        **({"thresholds": list(thresholds)} if thresholds is not None else {}),
        "assumed": dict(origin.assumed) if origin is not None else {},
    }


def _about(document: dict[str, Any]) -> list[list[str]]:
    """The findings in lines: what, and its value; with the reason where it was taken for granted."""
    from vitral.model import ViTConfig

    assumed = document["assumed"]
    plain = ViTConfig().to_dict()
    always = ("image_size", "patch_size", "layers", "dim", "heads", "activation", "norm_epsilon", "pool")
    rows = [["weights", document["weights"]], ["family", document["family"]]]
    values = document["architecture"] | document["preprocessing"]
    for name, value in values.items():
        of_images = name in document["preprocessing"]
        if not (of_images or name in always or name in assumed or value != plain.get(name)):
            continue
        why = f"  (assumed: {assumed[name]})" if name in assumed else ""
        rows.append([name, _said(value) + why])
    names = document["class_names"]
    if names:
        some = ", ".join(names[:3]) + (f", … {names[-1]}" if len(names) > 3 else "")
        why = f"  (assumed: {assumed['class_names']})" if "class_names" in assumed else ""
        several = ", several an image" if "thresholds" in document else ""
        rows.append(["classes", f"{len(names)}{several}: {some}{why}"])
    else:
        rows.append(["classes", "none: train a head on its features, vitral train DATA --from WEIGHTS"])
    return rows


def _said(value: Any) -> str:
    if isinstance(value, list):
        return (" x " if all(isinstance(one, int) for one in value) else ", ").join(map(_said, value))
    return number(value) if isinstance(value, float) else str(value)
