from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs.errors import RequestError
from tasks.formatting.rendering.chat_templates import list_templates, list_tool_templates
from tasks.formatting.rendering.encoding import BREAK
from tasks.formatting.rendering.renderer import IGNORE_INDEX, Renderer, load_renderer
from tasks.formatting.rendering.turns import FIXED_DATE, UnrenderableError
from tasks.formatting.rows.examples import Example, Message

ENDS = {
    "alpaca": "</s>", "chatml": "<|im_end|>", "gemma": "<end_of_turn>", "llama3": "<|eot_id|>",
    "mistral": "</s>", "qwen": "<|im_end|>",
}  # fmt: skip
SINGLE = {
    "alpaca": "<s>Be brief.\n\n### Instruction:\nWhy?\n\n### Response:\n[So.</s>]\n\n",
    "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
    "<|im_start|>assistant\n[So.<|im_end|>]\n",
    "gemma": "<s><start_of_turn>user\nBe brief.\n\nWhy?<end_of_turn>\n<start_of_turn>model\n"
    "[So.<end_of_turn>]\n",
    "llama3": "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n[So.<|eot_id|>]",
    "mistral": "<s>[INST] Be brief.\n\nWhy?[/INST][ So.</s>]",
    "qwen": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
    "<|im_start|>assistant\n[So.<|im_end|>]\n",
}
TOOLED = list_tool_templates()
SYSTEM = Message("system", "Be brief.")
TURNS = (
    Message("user", "Why?"), Message("assistant", "So."), Message("user", "And then?"),
    Message("assistant", "Nothing\n\nmore."),
)  # fmt: skip
# What templates strip from the ends of a turn is left out: then the answer comes back unchanged.
contents = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=BREAK)).filter(
    lambda text: text.strip() == text != ""
)
control_like = st.sampled_from(["<|im_end|>", "</s>", "a<end_of_turn>", "<s>[INST]", "<|eot_id|>"])
conversations = st.lists(st.tuples(contents | control_like, contents | control_like), min_size=1)


@pytest.fixture(scope="session", params=list_templates())
def named(request: pytest.FixtureRequest, byte_level_tokenizer: Path) -> tuple[str, Renderer]:
    return request.param, load_renderer(byte_level_tokenizer, request.param, "messages")


@pytest.fixture(scope="session", params=["mistral", "alpaca"])
def spacing(request: pytest.FixtureRequest, sentencepiece_tokenizer: Path) -> Renderer:
    return load_renderer(sentencepiece_tokenizer, request.param, "messages")


def test_templates_are_rendered_as_transformers_does(named: tuple[str, Renderer]) -> None:
    template = named[1].chat_template
    assert template is not None
    for messages in ((SYSTEM, *TURNS), TURNS, TURNS[:3]):
        for prompt in (True, False):
            expected = template.tokenizer.apply_chat_template(
                [{"role": m.role, "content": m.content} for m in messages],
                chat_template=template.text, tokenize=False, add_generation_prompt=prompt,
                date_string=FIXED_DATE,
            )  # fmt: skip
            assert template.render(messages, add_generation_prompt=prompt) == expected


def make_example(messages: Sequence[Message] = (), text: str = "") -> Example:
    return Example("id", "group", tuple(messages), text, "a.jsonl:1")


def make_messages(pairs: Sequence[tuple[str, str]]) -> list[Message]:
    return [
        Message(role, content)
        for pair in pairs
        for role, content in zip(("user", "assistant"), pair, strict=True)
    ]


def mark(renderer: Renderer, example: Example) -> str:
    """Return the text of an example with each trained stretch in brackets."""
    tokens = renderer.render_example(example)
    pairs = zip(tokens.input_ids, tokens.labels, strict=True)
    text = ""
    for is_trained, stretch in itertools.groupby(pairs, lambda pair: pair[1] != IGNORE_INDEX):
        part = renderer.tokenizer.decode([token_id for token_id, _ in stretch])
        text += f"[{part}]" if is_trained else part
    return text


def list_answers(renderer: Renderer, example: Example) -> list[str]:
    """Return what the trained stretches say, after checking that each ends with its end token."""
    tokens = renderer.render_example(example)
    answers = []
    for is_trained, stretch in itertools.groupby(tokens.labels, lambda i: i != IGNORE_INDEX):
        ids = list(stretch)
        if is_trained:
            assert ids.index(renderer.end_token_ids[0]) == len(ids) - 1
            answers.append(renderer.decode(ids))
    return answers


def test_there_is_an_expectation_for_every_template() -> None:
    assert tuple(SINGLE) == tuple(ENDS) == list_templates()


def test_the_text_and_the_mask_of_each_template(named: tuple[str, Renderer]) -> None:
    name, renderer = named
    assert mark(renderer, make_example([SYSTEM, *TURNS[:2]])) == SINGLE[name]
    assert renderer.tokenizer.convert_ids_to_tokens(renderer.end_token_ids[0]) == ENDS[name]


def test_every_answer_of_a_conversation_is_trained_with_its_end(
    named: tuple[str, Renderer],
) -> None:
    _, renderer = named
    for messages in (TURNS, (SYSTEM, *TURNS)):
        example = make_example(messages)
        assert list_answers(renderer, example) == ["So.", "Nothing\n\nmore."]
        assert renderer.render_example(example).untrained_turns == 0


@given(conversations)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_mask_is_the_answers_whatever_they_say(
    named: tuple[str, Renderer], pairs: list[tuple[str, str]]
) -> None:
    _, renderer = named
    example = make_example(make_messages(pairs))
    tokens = renderer.render_example(example)
    prompt = renderer.render_prompt(example)
    assert list_answers(renderer, example) == [answer for _, answer in pairs]
    assert tokens.input_ids[: len(prompt)] == prompt
    assert tokens.labels[len(prompt)] == tokens.input_ids[len(prompt)]
    assert len(tokens.trained_ends) == len(pairs)


@given(conversations)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_tokenizer_that_adds_spaces_adds_none_inside(
    spacing: Renderer, pairs: list[tuple[str, str]]
) -> None:
    pairs = [(ask.replace("▁", ""), f"A{answer}".replace("▁", "")) for ask, answer in pairs]
    example = make_example(make_messages([(f"Q{ask}", answer) for ask, answer in pairs]))
    assert spacing.encoder.adds_space
    assert list_answers(spacing, example) == [answer for _, answer in pairs]
    assert "  A" not in mark(spacing, example)


def test_a_control_token_in_a_row_is_plain_text(named: tuple[str, Renderer]) -> None:
    name, renderer = named
    end = renderer.end_token_ids[0]
    ask = Message("user", f"Stop.{ENDS[name]}")
    plain = renderer.encode_prompt([Message("user", "Stop.")])
    attacked = renderer.encode_prompt([ask])
    assert attacked.count(end) == plain.count(end)
    assert ENDS[name] in renderer.tokenizer.decode(attacked)


def test_without_assistant_only_loss_all_but_the_first_token_is_trained(
    named: tuple[str, Renderer],
) -> None:
    _, renderer = named
    tokens = renderer.render_example(make_example(TURNS), assistant_only_loss=False)
    assert tokens.labels == [IGNORE_INDEX, *tokens.input_ids[1:]]
    assert len(tokens.trained_ends) == 2


def test_what_is_saved_renders_the_same(named: tuple[str, Renderer], tmp_path: Path) -> None:
    _, renderer = named
    renderer.save(tmp_path)
    loaded = load_renderer(tmp_path, None, "messages")
    assert (tmp_path / "chat_template.jinja").is_file()
    assert loaded.digest == renderer.digest
    assert loaded.render_example(make_example(TURNS)) == renderer.render_example(
        make_example(TURNS)
    )


def test_other_templates_and_kinds_have_other_digests(byte_level_tokenizer: Path) -> None:
    digests = {load_renderer(byte_level_tokenizer, n, "messages").digest for n in list_templates()}
    digests.add(load_renderer(byte_level_tokenizer, None, "text").digest)
    assert len(digests) == len(list_templates()) + 1


def test_tool_turns(byte_level_tokenizer: Path) -> None:
    messages = [TURNS[0], Message("tool", "4"), Message("tool", "5"), TURNS[1]]
    for name in ("chatml", "qwen"):
        renderer = load_renderer(byte_level_tokenizer, name, "messages")
        assert (
            "<|im_start|>user\n<tool_response>\n4\n</tool_response>\n<tool_response>\n5\n"
            "</tool_response><|im_end|>\n" in mark(renderer, make_example(messages))
        )
    llama = load_renderer(byte_level_tokenizer, "llama3", "messages")
    assert "<|start_header_id|>ipython<|end_header_id|>\n\n4<|eot_id|>" in mark(
        llama, make_example(messages)
    )
    for name in ("alpaca", "gemma"):
        renderer = load_renderer(byte_level_tokenizer, name, "messages")
        with pytest.raises(UnrenderableError, match="no tool turns") as caught:
            renderer.render_example(make_example(messages))
        assert str(caught.value).endswith(f"{', '.join(TOOLED[:3])} and {TOOLED[3]} have")


def test_a_template_that_changes_earlier_turns_trains_on_the_last_one(
    byte_level_tokenizer: Path, tmp_path: Path
) -> None:
    template = (
        "{%- for m in messages -%}<|im_start|>{{ m.role }}\n"
        "{%- if m.role == 'assistant' and loop.last -%}<think>\n</think>\n{%- endif -%}"
        "{{ m.content }}<|im_end|>\n{%- endfor -%}"
        "{%- if add_generation_prompt -%}<|im_start|>assistant\n{%- endif -%}"
    )
    (tmp_path / "think.jinja").write_text(template)
    renderer = load_renderer(byte_level_tokenizer, str(tmp_path / "think.jinja"), "messages")
    example = make_example(TURNS)
    assert list_answers(renderer, example) == ["Nothing\n\nmore."]
    assert renderer.render_example(example).untrained_turns == 1


def test_texts_are_plain_continuation(
    byte_level_tokenizer: Path, sentencepiece_tokenizer: Path
) -> None:
    example = make_example(text="It is</s> three.")
    plain = load_renderer(byte_level_tokenizer, None, "text")
    assert mark(plain, example).count("</s>") == 2
    starting = load_renderer(sentencepiece_tokenizer, None, "text")
    for renderer, start in ((plain, []), (starting, [starting.tokenizer.bos_token_id])):
        tokens = renderer.render_example(example)
        end = renderer.tokenizer.eos_token_id
        assert tokens.input_ids[: len(start)] == start
        assert tokens.input_ids.count(end) == 1
        assert tokens.input_ids[-1] == tokens.labels[-1] == end
        assert tokens.labels == [IGNORE_INDEX, *tokens.input_ids[1:]]
        assert renderer.render_prompt(example) == tokens.input_ids[:-1]


def test_a_base_without_template_is_refused_with_the_built_in_ones(
    byte_level_tokenizer: Path,
) -> None:
    with pytest.raises(RequestError) as caught:
        load_renderer(byte_level_tokenizer, None, "messages")
    assert caught.value.where == "model.chat_template"
    assert "alpaca, chatml, gemma, llama3, mistral, qwen" in str(caught.value)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("no-such", '"no-such" is neither a built-in template nor a file'),
        ("chatml", "holds no token of this base model: the model could not learn to stop"),
    ],
)
def test_a_template_that_does_not_fit_is_refused(
    sentencepiece_tokenizer: Path, template: str, expected: str
) -> None:
    with pytest.raises(RequestError, match=expected):
        load_renderer(sentencepiece_tokenizer, template, "messages")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ strftime_now('%Y') }}</s>", "asks for today's date"),
        ("{{ raise_exception('never') }}", "the chat template refuses the conversation: never"),
        ("{% for m in messages %}{{ m.role }}{% endfor %}", "not the assistant's turn"),
        ("{{ messages[0].content", "the chat template refuses the conversation"),
    ],
)
def test_a_template_file_that_cannot_be_proved_is_refused(
    byte_level_tokenizer: Path, tmp_path: Path, template: str, expected: str
) -> None:
    (tmp_path / "own.jinja").write_text(template)
    with pytest.raises(RequestError, match=expected):
        load_renderer(byte_level_tokenizer, str(tmp_path / "own.jinja"), "messages")


def test_a_folder_without_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no tokenizer can be loaded"):
        load_renderer(tmp_path, "chatml", "messages")
