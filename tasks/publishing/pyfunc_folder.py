"""The folder that is registered in MLflow: a `pyfunc` model from code, without any pickle."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.publishing.bases import describe_base
from tasks.publishing.candidates import Candidate
from tasks.publishing.loading import ModelSettings
from tasks.records.digests import find_versions
from tasks.records.home import find_project
from tasks.tracking.store import load_pyfunc

CODE = ("configs", "tasks/__init__.py", "tasks/records", "tasks/formatting", "tasks/training",
        "tasks/evaluation", "tasks/publishing", "tasks/tracking")  # fmt: skip
LEFT_OUT = (
    "tasks/publishing/exports",
    "tasks/publishing/serving",
)  # a registered model does neither
REQUIREMENTS = ("mlflow", "torch", "transformers", "tokenizers", "peft", "accelerate",
                "safetensors", "jinja2", "pydantic", "pandas", "numpy", "PyYAML",
                "filelock", "orjson")  # fmt: skip
QUANTIZATION_FIELDS = ("bnb_4bit_quant_type", "use_bnb_nested_quant")


def describe_settings(
    candidate: Candidate, *, max_new_tokens: int, batch_size: int
) -> ModelSettings:
    """Return what the registered model needs to answer as the evaluated one did."""
    trained, model = candidate.trained, candidate.config["model"]
    is_quantized = trained.method == "qlora"
    return ModelSettings(
        base=describe_base(trained.base),
        method=trained.method,
        dtype=trained.dtype,
        kind=candidate.formatted.kind,
        template_digest=trained.template_digest,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        quantization={n: model[n] for n in QUANTIZATION_FIELDS} if is_quantized else {},
    )


def build_pyfunc(
    folder: Path,
    *,
    artefact: Path,
    code: Path,
    settings: ModelSettings,
    example: Mapping[str, Any],
    run_id: str,
    model_id: str,
) -> None:
    """Write the MLflow model: artefact, settings, code, signature, example, requirements.

    Args:
        folder: A new folder.
        artefact: The version's content, which is copied into it.
        code: What `collect_code` collected, which is copied too.
        settings: How to load it.
        example: A prompt, as a row.
        run_id: The MLflow run that made it.
        model_id: Its id among MLflow's logged models.
    """
    pyfunc = load_pyfunc()
    from mlflow.models import Model

    with _spare_module_map():
        pyfunc.save_model(
            path=str(folder),
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            code_paths=sorted(str(path) for path in code.iterdir()),
            artifacts={"model": str(artefact)},
            model_config=settings.model_dump(mode="json"),
            signature=_make_signature(settings),
            input_example=[dict(example)],
            pip_requirements=list_requirements(settings.method),
            mlflow_model=Model(run_id=run_id, model_id=model_id, model_uuid=model_id),
        )


@contextmanager
def _spare_module_map() -> Iterator[None]:
    """Keep MLflow from looking at every file of every installed package, which takes half a second.

    It does so to find the versions of requirements that have no metadata; here all have.
    """
    from mlflow.utils import requirements_utils as mapping

    found = mapping._MODULES_TO_PACKAGES  # noqa: SLF001 - there is no setting for it
    mapping._MODULES_TO_PACKAGES = found or {}  # noqa: SLF001
    try:
        yield
    finally:
        mapping._MODULES_TO_PACKAGES = found  # noqa: SLF001


def collect_code(folder: Path) -> None:
    """Copy the sources that the registered model needs, so that it loads without a clone."""
    project = find_project()
    for name in CODE:
        source = project / name
        files = source.rglob("*") if source.is_dir() else [source]
        for file in sorted(files):
            is_left_out = file.relative_to(project).as_posix().startswith(LEFT_OUT)
            if file.suffix in {".py", ".jinja"} and not is_left_out:
                copy = folder / file.relative_to(project)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)


def _make_signature(settings: ModelSettings) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Object, Property

    string = DataType.string
    call = Object(
        [
            Property("name", string),
            Property("arguments", string),
            Property("id", string, required=False),
        ]
    )
    turn = Object(
        [
            Property("role", string),
            Property("content", string),
            Property("tool_calls", Array(call), required=False),
            Property("tool_call_id", string, required=False),
            Property("name", string, required=False),
        ]
    )
    prompts = {
        "messages": [
            ColSpec(Array(turn), "messages"), ColSpec(string, "tools", required=False),
        ],
        "text": [ColSpec(string, "text")],
    }  # fmt: skip
    longest = ParamSpec("max_new_tokens", DataType.long, settings.max_new_tokens)
    return ModelSignature(
        inputs=Schema(prompts[settings.kind]),
        outputs=Schema([ColSpec(string)]),
        params=ParamSchema([longest]),
    )


def list_requirements(method: str) -> list[str]:
    """Return what `pip` needs to install to load a model, with the versions of here."""
    names = (*REQUIREMENTS, "bitsandbytes") if method == "qlora" else REQUIREMENTS
    # A local version such as 2.13.0+cpu is known to no package index.
    return [f"{name}=={found.split('+')[0]}" for name, found in find_versions(*names).items()]
