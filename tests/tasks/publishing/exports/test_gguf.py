from __future__ import annotations

import contextlib
import functools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configs.errors import RequestError
from tasks.formatting.rendering.renderer import Renderer, load_renderer
from tasks.formatting.rendering.turns import UnrenderableError
from tasks.formatting.rows.examples import Message
from tasks.publishing.exports import gguf_file
from tasks.publishing.exports.comparison import Reference, ask_model, compare_logits
from tasks.publishing.exports.export import export_model
from tasks.publishing.exports.gguf_tokenizer import describe_tokenizer
from tasks.publishing.exports.modelfile import TALKS, derive_texts, write_modelfile
from tasks.publishing.exports.sources import ExportSource, load_whole
from tasks.publishing.serving.answering import Delta, PendingAnswer, Wish
from tasks.records.writing import read_json, write_json

pytestmark = pytest.mark.filterwarnings("ignore:The PEFT config's")


@pytest.fixture(scope="module")
def exported(source: ExportSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("exports") / "gguf"
    report = export_model(source, "gguf", target)
    assert report.max_logit_difference < 1e-4
    return target


def read_fields(file: Path) -> dict[str, Any]:
    from gguf import GGUFReader

    return {name: field.contents() for name, field in GGUFReader(str(file)).fields.items()}


def test_the_file_carries_tokenizer_and_template(exported: Path, renderer: Renderer) -> None:
    fields = read_fields(exported / "model.gguf")
    assert fields["general.architecture"] == "llama"
    assert fields["tokenizer.ggml.model"] == "gpt2"
    tokens = fields["tokenizer.ggml.tokens"]
    assert tokens[fields["tokenizer.ggml.eos_token_id"]] == "<|im_end|>"
    assert len(tokens) == fields["llama.vocab_size"] == len(renderer.tokenizer)
    types = fields["tokenizer.ggml.token_type"]
    assert types[tokens.index("<|im_start|>")] == 3  # a control token
    template = fields["tokenizer.chat_template"]
    assert "generation -%}" not in template
    assert "<|im_start|>" in template
    assert fields["tokenizer.ggml.add_bos_token"] is False


def test_the_modelfile_carries_the_template(exported: Path) -> None:
    text = (exported / "Modelfile").read_text()
    assert text.startswith("FROM ./model.gguf\n")
    assert 'PARAMETER stop "<|im_end|>"' in text
    assert '{{ else if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n' in text


def test_heads_in_the_wrong_order_are_another_model(
    source: ExportSource,
    renderer: Renderer,
    reference: Reference,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gguf_file, "permute_heads", lambda weight, _: weight)
    gguf_file.write_files(source, renderer, tmp_path)
    assert compare_logits(reference, gguf_file.measure_files(tmp_path, reference)) > 0.1


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"model_type": "gpt2"}, "its architecture is gpt2; allowed: llama, mistral, qwen2"),
        ({"model_type": "mistral", "sliding_window": 64}, "a window of 64 tokens"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "scaled by yarn; allowed: default"),
    ],
)
def test_other_models_are_refused(
    source: ExportSource, tmp_path: Path, changes: dict[str, Any], found: str
) -> None:
    write_json(tmp_path / "config.json", read_json(source.base / "config.json") | changes)
    with pytest.raises(RequestError, match=found):
        gguf_file.check_source(replace(source, base=tmp_path))


def test_a_tokenizer_without_byte_level_is_refused(source: ExportSource, tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer"
    shutil.copytree(source.tokenizer_folder, folder)
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["decoder"] = {"type": "Fuse"}
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(RequestError, match="allowed: byte-level BPE"):
        describe_tokenizer(load_renderer(folder, None, "messages"), "mine")


@pytest.mark.parametrize("template", ["chatml", "alpaca"])
def test_a_template_in_gos_language_renders_the_same(source: ExportSource, template: str) -> None:
    renderer = load_renderer(source.tokenizer_folder, template, "messages")
    texts = derive_texts(renderer)
    assert texts is not None
    assert renderer.chat_template is not None
    for talk in TALKS:
        with contextlib.suppress(UnrenderableError):  # not every template takes each of them
            expected = renderer.chat_template.render(talk, add_generation_prompt=True)
            assert texts.render(talk) == expected


def test_a_template_that_looks_at_other_turns_is_left_out(
    source: ExportSource, tmp_path: Path
) -> None:
    template = tmp_path / "counting.jinja"
    template.write_text(
        "{%- for m in messages -%}<|im_start|>{{ m.role }} {{ loop.index }}\n{{ m.content }}"
        "<|im_end|>\n{%- endfor -%}"
        "{%- if add_generation_prompt -%}<|im_start|>assistant {{ messages | length + 1 }}\n"
        "{%- endif -%}"
    )
    renderer = load_renderer(source.tokenizer_folder, str(template), "messages")
    assert derive_texts(renderer) is None
    modelfile = write_modelfile(renderer, 1024)
    assert "TEMPLATE" not in modelfile.text
    assert modelfile.notes


def test_qwen_is_not_permuted(tmp_path: Path, renderer: Renderer, source: ExportSource) -> None:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(renderer.tokenizer), hidden_size=64, intermediate_size=96,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=512, tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(tmp_path / "base")
    renderer.save(tmp_path / "base")
    base = replace(
        source, folder=None, method="base", base=tmp_path / "base", dtype="bfloat16",
        tokenizer_folder=tmp_path / "base",
    )  # fmt: skip
    gguf_file.check_source(base)
    out = tmp_path / "out"
    out.mkdir()
    gguf_file.write_files(base, renderer, out)
    prompts = [[5, 6, 7, 8, 9], [10, 11]]
    for parameter in model.parameters():
        if parameter.dim() > 1:  # vectors stay in float32
            parameter.data = parameter.data.to(torch.bfloat16).float()
    reference = Reference(prompts, [ask_model(model, prompt) for prompt in prompts], None)
    assert compare_logits(reference, gguf_file.measure_files(out, reference)) < 1e-3


def test_llama_cpp_answers_as_the_model_does(
    exported: Path, source: ExportSource, renderer: Renderer
) -> None:
    llama_cpp = pytest.importorskip("xllamacpp", reason="a real runtime of GGUF: xllamacpp")
    from tasks.publishing.serving.decoding import LoadedModel, write_answers

    params = llama_cpp.CommonParams()
    params.model.path = str(exported / "model.gguf")
    params.n_ctx, params.port, params.warmup = 512, 0, False
    params.cpuparams.n_threads = 1
    server = llama_cpp.Server(params)
    loaded = LoadedModel(
        load_whole(source, renderer, dtype="float32"), renderer, renderer.end_token_ids
    )
    for question in ("What is one and one?", "What does FLOWROLL mean?"):
        texts: list[str] = []
        prompt = renderer.encode_prompt([Message("user", question)])
        answer = PendingAnswer(prompt, Wish(16), functools.partial(keep_text, texts))
        write_answers(loaded, [answer], lambda _: False)
        body = {"messages": [{"role": "user", "content": question}], "temperature": 0}
        found = server.handle_chat_completions({**body, "max_tokens": 16})
        assert found["choices"][0]["message"]["content"] == "".join(texts)
        assert found["usage"]["prompt_tokens"] == len(prompt)


def keep_text(texts: list[str], delta: Delta) -> None:
    texts.append(delta.text)
