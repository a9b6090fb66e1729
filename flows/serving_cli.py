"""The commands that let a model answer: what they take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli_options import Json, ModelName

FormatName = Literal["merged", "gguf", "onnx", "torchscript", "package"]


def generate(
    model: ModelName,
    prompts: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt",
            help="Answer this; may be repeated. Without it, a conversation begins, which /quit or "
            "Ctrl-D ends.",
        ),
    ] = None,
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input", help="Answer each line, or each `prompt` or `messages` of a JSONL."
        ),
    ] = None,
    temperature: Annotated[float, typer.Option(min=0, help="0: always the likeliest token.")] = 0.0,
    top_p: Annotated[float, typer.Option(min=0, max=1, help="Nucleus sampling.")] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 256,
    num_samples: Annotated[int, typer.Option(min=1, help="Answers to each prompt.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampling.")] = 0,
    as_json: Json = False,
) -> int:
    """Answer prompts, or talk when no prompt is given."""
    from flows.commands.talk import answer_prompts

    return answer_prompts(
        model, prompts=prompts or [], input_file=input_file, temperature=temperature, top_p=top_p,
        max_new_tokens=max_new_tokens, num_samples=num_samples, seed=seed, as_json=as_json,
    )  # fmt: skip


def serve(
    model: ModelName,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than loopback need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    name: Annotated[
        str | None, typer.Option(help="What clients call the model; by default its own name.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 1024,
    max_batch_size: Annotated[int, typer.Option(min=1, help="Answers written together.")] = 8,
    max_waiting: Annotated[int, typer.Option(min=1, help="Answers that may wait.")] = 64,
    rate_limit: Annotated[
        int, typer.Option(min=0, help="Requests a minute for each client; 0: no limit.")
    ] = 600,
    poll_seconds: Annotated[
        float, typer.Option(min=0.1, help="How often an alias is looked up in the registry.")
    ] = 10.0,
) -> int:
    """Serve a model behind OpenAI's API; models:/NAME@champion follows the champion.

    HONE_SERVE_TOKEN in the environment is the key that clients must send.
    """
    from flows.commands.serve import serve_model

    return serve_model(
        model, host=host, port=port, name=name, max_new_tokens=max_new_tokens,
        max_batch_size=max_batch_size, max_waiting=max_waiting, rate_limit=rate_limit,
        poll_seconds=poll_seconds,
    )  # fmt: skip


def export(
    model: ModelName,
    export_format: Annotated[
        FormatName,
        typer.Option("--format", help="What it is for is in docs/serving.md."),
    ],
    output: Annotated[
        Path | None, typer.Option(help="A new folder; by default one below artifacts/exports/.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="Largest difference of logits; by default the precision's own."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Write a model in another runtime's format, and compare it with the model."""
    from flows.commands.export import export_model

    return export_model(
        model, name=export_format, output=output, tolerance=tolerance, as_json=as_json
    )
