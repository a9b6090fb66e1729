from typing import Any

import pytest
from transformers import GenerationConfig

from configs.errors import RequestError
from tasks.evaluation import generation
from tasks.evaluation.generation import (
    Sampling,
    build_generation_config,
    cut_answer,
    find_end_tokens,
    generate_answers,
    plan_rounds,
    unwrap_model,
    use_only,
)
from tasks.formatting.rendering.renderer import Renderer
from tasks.formatting.rows.examples import Example
from tasks.records.observer import SilentObserver

SETTINGS: dict[str, Any] = {"max_new_tokens": 24, "observer": SilentObserver()}


@pytest.fixture(scope="module")
def prompts(renderer: Renderer, examples: list[Example]) -> list[list[int]]:
    return [renderer.render_prompt(example) for example in examples]


class Recorder(SilentObserver):
    def __init__(self) -> None:
        self.seen: list[tuple[int, int, str]] = []

    def report_progress(self, done: int, total: int, unit: str) -> None:
        self.seen.append((done, total, unit))


def test_batched_answers_equal_one_by_one(
    tiny_base: Any, renderer: Renderer, prompts: list[list[int]]
) -> None:
    assert len({len(prompt) for prompt in prompts}) > 5  # padding is needed
    batched = generate_answers(tiny_base, renderer, prompts, batch_size=8, **SETTINGS)
    alone = [
        generate_answers(tiny_base, renderer, [prompt], batch_size=1, **SETTINGS)[0]
        for prompt in prompts
    ]
    assert batched == alone
    assert len(batched) == len(prompts)
    assert len({answer.text for answer in batched}) > 5


def test_answers_equal_a_plain_greedy_loop(
    tiny_base: Any, renderer: Renderer, prompts: list[list[int]]
) -> None:
    import torch

    answers = generate_answers(tiny_base, renderer, prompts[:4], batch_size=4, **SETTINGS)
    for prompt, answer in zip(prompts[:4], answers, strict=True):
        ids = list(prompt)
        while len(ids) < len(prompt) + 24 and not (
            len(ids) > len(prompt) and ids[-1] in renderer.end_token_ids
        ):
            with torch.inference_mode():
                ids.append(int(tiny_base(torch.tensor([ids])).logits[0, -1].argmax()))
        assert list(answer.token_ids) == ids[len(prompt) :]
        assert answer.ended == (ids[-1] in renderer.end_token_ids)


def test_the_models_own_generation_defaults_do_not_leak(
    tiny_base: Any, renderer: Renderer, prompts: list[list[int]]
) -> None:
    expected = generate_answers(tiny_base, renderer, prompts, batch_size=8, **SETTINGS)
    own = tiny_base.generation_config
    leaking = GenerationConfig(
        do_sample=True, temperature=5.0, repetition_penalty=3.0, min_new_tokens=20,
        suppress_tokens=[5, 6, 7, 8, 9, 10, 11, 12], no_repeat_ngram_size=1,
        eos_token_id=own.eos_token_id,
    )  # fmt: skip
    tiny_base.generation_config = leaking
    try:
        found = generate_answers(tiny_base, renderer, prompts, batch_size=8, **SETTINGS)
        assert tiny_base.generation_config is leaking
    finally:
        tiny_base.generation_config = own
    assert found == expected


def test_an_adapter_is_applied(
    tiny_base: Any, renderer: Renderer, prompts: list[list[int]]
) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    expected = generate_answers(tiny_base, renderer, prompts, batch_size=8, **SETTINGS)
    model = get_peft_model(tiny_base, LoraConfig(target_modules="all-linear")).eval()
    try:
        assert unwrap_model(model) is tiny_base
        fresh = generate_answers(model, renderer, prompts, batch_size=8, **SETTINGS)
        assert fresh == expected  # B is zero
        torch.manual_seed(0)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.2)
        changed = generate_answers(model, renderer, prompts, batch_size=8, **SETTINGS)
        assert [a.text for a in changed] != [a.text for a in expected]
    finally:
        model.unload()


def test_answers_that_go_on_are_carried_into_the_next_round(
    tiny_base: Any,
    renderer: Renderer,
    prompts: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_one = generate_answers(tiny_base, renderer, prompts, batch_size=8, **SETTINGS)
    assert {answer.ended for answer in in_one} == {True, False}
    monkeypatch.setattr(generation, "FIRST_ROUND_TOKENS", 3)
    assert list(plan_rounds(24)) == [3, 6, 12, 3]
    assert generate_answers(tiny_base, renderer, prompts, batch_size=8, **SETTINGS) == in_one


def test_sampled_answers_follow_from_the_seed(
    tiny_base: Any, renderer: Renderer, prompts: list[list[int]]
) -> None:
    first, again, other = (
        generate_answers(
            tiny_base, renderer, prompts[:4], batch_size=4, sampling=Sampling(1.0, 0.95, seed),
            **SETTINGS,
        )
        for seed in (1, 1, 2)
    )  # fmt: skip
    assert first == again
    assert first != other
    assert build_generation_config(renderer, renderer.end_token_ids, 5, Sampling()).top_k == 0


def test_every_end_token_ends_an_answer(renderer: Renderer) -> None:
    words = renderer.tokenizer.encode("one two", add_special_tokens=False)
    ends = (*renderer.end_token_ids, 99)
    for end in ends:
        answer = cut_answer(renderer, ends, [*words, end, renderer.pad_token_id, words[0]])
        assert answer.ended
        assert answer.token_ids == (*words, end)
        assert answer.text == "one two"
    assert build_generation_config(renderer, ends, 5).eos_token_id == list(ends)
    endless = cut_answer(renderer, ends, words)
    assert not endless.ended
    assert endless.text == "one two"


@pytest.mark.parametrize("as_list", [True, False])
def test_an_end_token_of_the_models_own_ends_an_answer(
    tiny_base: Any, renderer: Renderer, prompts: list[list[int]], as_list: bool
) -> None:
    plain = generate_answers(tiny_base, renderer, prompts[:1], batch_size=1, **SETTINGS)[0]
    end = plain.token_ids[2]
    first = plain.token_ids.index(end)
    assert end not in renderer.end_token_ids
    own = tiny_base.generation_config
    tiny_base.generation_config = GenerationConfig(eos_token_id=[end] if as_list else end)
    try:
        assert find_end_tokens(tiny_base, renderer) == (*renderer.end_token_ids, end)
        found = generate_answers(tiny_base, renderer, prompts[:1], batch_size=1, **SETTINGS)[0]
    finally:
        tiny_base.generation_config = own
    assert found.ended
    assert found.token_ids == plain.token_ids[: first + 1]
    assert found.text == renderer.decode(list(plain.token_ids[:first]))


def test_a_model_may_name_no_end_token(tiny_base: Any, renderer: Renderer) -> None:
    own = tiny_base.generation_config
    with use_only(tiny_base, GenerationConfig()):
        assert find_end_tokens(tiny_base, renderer) == renderer.end_token_ids
    assert tiny_base.generation_config is own


def test_a_prompt_that_does_not_fit_is_refused_not_cut(tiny_base: Any, renderer: Renderer) -> None:
    limit = tiny_base.config.max_position_embeddings
    prompts = [[5, 6, 7], [5] * (limit - 23)]
    with pytest.raises(RequestError, match=r"1 evaluation rows do not fit") as caught:
        generate_answers(
            tiny_base, renderer, prompts, batch_size=2, names=["a:1", "b:2"], **SETTINGS
        )
    assert caught.value.problems == (f"b:2: {limit + 1} tokens",)


def test_progress_and_no_prompts(
    tiny_base: Any, renderer: Renderer, prompts: list[list[int]]
) -> None:
    recorder = Recorder()
    settings = SETTINGS | {"observer": recorder, "max_new_tokens": 2}
    generate_answers(tiny_base, renderer, prompts[:5], batch_size=2, **settings)
    # No answer ends in two tokens, so that all of them are done at the end of the last round.
    assert recorder.seen[-1] == (5, 5, "answers")
    assert recorder.seen == sorted(recorder.seen)
    assert len(recorder.seen) >= 3
    assert generate_answers(tiny_base, renderer, [], batch_size=2, **settings) == []


def test_the_models_config_comes_back_after_an_error(tiny_base: Any) -> None:
    own = tiny_base.generation_config
    with pytest.raises(RuntimeError), use_only(tiny_base, GenerationConfig()):
        raise RuntimeError
    assert tiny_base.generation_config is own
