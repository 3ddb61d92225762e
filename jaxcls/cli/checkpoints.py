"""Commands about models: which there are, what one would be, and another form of it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from jaxcls.cli.exits import EXIT_ERROR, reported
from jaxcls.cli.options import (
    Dtype,
    HeadInit,
    HfOverrides,
    Loading,
    LocalFilesOnly,
    ModelArgument,
    Quantization,
    Revision,
    Traceback,
    WordLabels,
    given,
    model_option,
)


class ConvertFormat(StrEnum):
    """Who reads a converted model."""

    JAXCLS = "jaxcls"
    TRANSFORMERS = "transformers"


def models(traceback: Traceback = False) -> None:
    """List the supported architectures: a table on a terminal, JSON lines otherwise."""
    from jaxcls.cli.show import show_models

    with reported(traceback):
        show_models()


def info(model: ModelArgument, loading: Loading, labels: WordLabels = None, traceback: Traceback = False) -> None:
    """Say what would be loaded, and why, without loading it.

    Exits with 1 if the weights are here and do not fit the model.
    """
    with reported(traceback):
        from jaxcls.cli.show import show_info
        from jaxcls.info import describe

        description = describe(model, **loading.arguments(labels=labels))
        show_info(description)
    if description.problems is not None:
        raise typer.Exit(EXIT_ERROR)


def convert(
    model: ModelArgument,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Directory that does not exist or is empty.")],
    revision: Revision = None,
    dtype: Dtype = "auto",
    quantization: Quantization = None,
    layer_layout: Annotated[
        str, model_option("--layer-layout", help="auto, stacked (for GPU and TPU) or unrolled (for CPU).")
    ] = "auto",
    hf_overrides: HfOverrides = None,
    head_init: HeadInit = None,
    labels: WordLabels = None,
    format: Annotated[
        ConvertFormat, typer.Option(help="jaxcls (loads faster), or transformers (an ordinary classifier).")
    ] = ConvertFormat.JAXCLS,
    local_files_only: LocalFilesOnly = False,
    traceback: Traceback = False,
) -> None:
    """Write a model directory that loads faster, or an ordinary checkpoint of a converted language model.

    The weights of the first are as they lie in memory: in one dtype, for one kind of device. The second holds a
    classification head in place of the output matrix, and gives the same logits in transformers.
    """
    options = given(
        revision=revision,
        dtype=dtype,
        quantization=quantization,
        layer_layout=layer_layout,
        hf_overrides=hf_overrides,
        head_init=head_init,
        labels=labels,
        local_files_only=local_files_only or None,
    )
    with reported(traceback):
        from jaxcls.cli.show import show_converted
        from jaxcls.engine.converted import convert as convert_model
        from jaxcls.engine.export import export

        write = convert_model if format is ConvertFormat.JAXCLS else export
        show_converted(model, write(model, output, **options))
