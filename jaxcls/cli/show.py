"""What `jaxcls models` and `jaxcls info` print: tables for people, JSON for programs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcls.cli.terminal import message, print_table, stdout_is_terminal

if TYPE_CHECKING:
    from jaxcls.info import Description

_EMBEDDERS = (
    "Base models of these families (BertModel, Qwen3ForCausalLM ...) are embedders where sentence-transformers' "
    "modules.json is beside them, or with convert='embed': LLM.embed"
)


def show_models() -> None:
    """The support table, from the registry."""
    from jaxcls.registry import architectures

    entries = list(architectures())
    if stdout_is_terminal():
        rows = [("\n".join(entry.names), entry.pooling_name, f"{entry.summary}\n{entry.example}") for entry in entries]
        print_table(("architecture", "pooling", "models, and an example"), rows)
        message(_EMBEDDERS)
        return
    for entry in entries:
        for name in entry.names:
            row = {
                "architecture": name,
                "models": entry.summary,
                "pooling": entry.pooling_name,
                "example": entry.example,
            }
            print(json.dumps(row))


def show_info(description: "Description") -> None:
    """One model."""
    if not stdout_is_terminal():
        print(json.dumps(asdict(description)))
        return
    print_table(("", ""), _lines(description))


def show_converted(model: str, directory: Path) -> None:
    """The outcome of `jaxcls convert`."""
    size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    message(f"{model} converted: {size_of(size)} in {directory}; use it as MODEL")


def _lines(info: "Description") -> list[tuple[str, str]]:
    files = [f"{name} ({size_of(size)})" for name, size in info.weight_files.items()]
    weights = ", ".join(files) if files else "not here: downloaded when the model is loaded"
    calibration = f"(logits - {info.logit_mean:g}) / {info.logit_sigma:g}, then "
    plain = (info.logit_mean, info.logit_sigma) == (0.0, 1.0)
    activation = f"{'' if plain else calibration}{info.activation}"
    embeds = info.embedding_dim is not None
    default = (
        "" if info.use_activation else f"; requests that do not say get {'them as they are' if embeds else 'logits'}"
    )
    quantised = "" if info.quantization is None else f"matrices of the layers {info.quantization}, "
    held = f"{info.dtype}, {quantised}{size_of(info.memory_bytes)} on {info.backend}, layers {info.layers}"
    lines = [
        ("model", info.model),
        ("files", info.path),
        ("commit", info.commit or ""),
        ("architecture", f"{info.architecture}: {info.summary}"),
        ("weights", weights),
        ("dtypes in them", ", ".join(info.weight_dtypes)),
        ("problems", info.problems or ""),
        ("parameters", f"{info.parameters:,}"),
        ("loaded as", held + (", token embedding left in its file" if info.token_embedding == "file" else "")),
        ("kernels", info.kernels or ""),
        ("embeddings", f"{info.embedding_dim} dimensions" if embeds else ""),
        ("prompts", ", ".join(f"{name}: {text!r}" for name, text in info.prompts.items())),
        ("default prompt", info.default_prompt or ""),
        ("labels", "" if embeds else f"{len(info.labels)}: {', '.join(info.labels)}"),
        ("problem_type", "" if embeds else info.problem_type or "not given"),
        ("dense layers" if embeds else "head", info.head),
        ("pairs", "" if embeds else info.pairs),
        ("pooling", f"{info.pooling} ({info.pooling_reason})"),
        ("activation", f"{activation} ({info.activation_reason}){default}"),
        ("longest text", f"{info.max_len:,} tokens ({info.max_len_reason})"),
        ("shapes compiled", ", ".join(info.buckets)),
    ]
    return [(name, value) for name, value in lines if value]


def size_of(count: int) -> str:
    """Bytes for people."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"
