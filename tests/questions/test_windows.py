"""Windows: they hold all of a context, whatever its length, and lead back to its characters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.errors import RequestError
from nlp_transfer.questions.windows import QUESTION, encoded, separates, targets
from tests.matrix import tokenizer as of_characters

CONTEXT = "The ferry sails at nine, 10 and 11. Über all else it carries sheep - and a few people who like sheep. " * 4
QUESTIONS = ["When does it sail?", " what? ", "Who likes sheep? " * 30]
CONTEXTS = [CONTEXT, "Short.", CONTEXT + " Tea is served."]


@pytest.fixture(params=["characters", "tiny_bert", "tiny_gpt2", "tiny_gpt2_begins"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    """Tokenizers with separators and without."""
    if request.param == "characters":
        return of_characters()
    folder: Path = request.getfixturevalue(request.param)
    return Backbone.find(ModelSettings(str(folder))).tokenizer(64)


def test_windows_hold_every_token_of_the_context_and_share_what_they_should(tokenizer: PreTrainedTokenizerBase) -> None:
    windows = encoded(QUESTIONS, CONTEXTS, tokenizer, stride=8)
    assert windows["row"] == sorted(windows["row"])
    assert max(map(len, windows["input_ids"])) <= 64
    for row, context in enumerate(CONTEXTS):
        whole = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)
        mine = [i for i, other in enumerate(windows["row"]) if other == row]
        ids: list[int] = []
        for i in mine:
            first, count = windows["first"][i], len(windows["starts"][i])
            inside = windows["input_ids"][i][first : first + count]
            shared = 0 if i == mine[0] else 8
            assert inside[:shared] == ids[len(ids) - shared :]
            ids += inside[shared:]
        assert ids == whole["input_ids"]
        pairs = zip(whole["offset_mapping"], windows["starts"][mine[0]], windows["ends"][mine[0]], strict=False)
        for (begins, ends), start, end in pairs:
            if text := context[begins:ends].strip():
                assert context[start:end] == text
            else:  # of white space: with its neighbour it is the neighbour, alone it is nothing
                assert start >= end
    assert len(mine) > 3


def test_what_stands_for_no_answer(tokenizer: PreTrainedTokenizerBase) -> None:
    windows = encoded(QUESTIONS, CONTEXTS, tokenizer, stride=8)
    for ids, null in zip(windows["input_ids"], windows["null"], strict=True):
        # from left to right, only the last token knows that there is no answer
        assert null == (0 if separates(tokenizer) else len(ids) - 1)
        assert ids[null] == (tokenizer.cls_token_id if separates(tokenizer) else tokenizer.eos_token_id)


def test_what_texts_begin_with_stands_once_before_the_template(tiny_gpt2_begins: Path) -> None:
    tokenizer = Backbone.find(ModelSettings(str(tiny_gpt2_begins))).tokenizer(64)
    assert tokenizer("a", "b")["input_ids"].count(tokenizer.bos_token_id) == 2
    windows = encoded(["When?"], [CONTEXT], tokenizer, stride=8)
    begin = tokenizer.bos_token
    for ids, first in zip(windows["input_ids"], windows["first"], strict=True):
        assert tokenizer.decode(ids[:first]) == f"{begin}Question: When?\nContext:\n"
        assert begin not in tokenizer.decode(ids[first:-1])
    assert tokenizer.decode(windows["input_ids"][0][windows["first"][0] :]).startswith("The ferry sails at nine")
    assert max(map(len, windows["input_ids"])) == 64


def test_long_contexts_are_tokenised_few_at_a_time(
    tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = encoded(QUESTIONS, CONTEXTS, tokenizer, stride=8)
    monkeypatch.setattr("nlp_transfer.texts.CHARACTERS", len(CONTEXT) + 1)
    apart = encoded(QUESTIONS, CONTEXTS, tokenizer, stride=8)
    assert apart.keys() == whole.keys()
    for name in ("row", "cut", "input_ids", "null", "first"):
        assert apart[name] == whole[name]
    for name in ("starts", "ends"):
        assert [each.tolist() for each in apart[name]] == [each.tolist() for each in whole[name]]


def test_a_long_question_is_cut_and_a_short_one_is_whole(tokenizer: PreTrainedTokenizerBase) -> None:
    windows = encoded(QUESTIONS, CONTEXTS, tokenizer, stride=8)
    assert {row for row, cut in zip(windows["row"], windows["cut"], strict=True) if cut} == {2}
    text = tokenizer.decode(windows["input_ids"][0][: windows["first"][0]])
    assert "when does it sail?" in text.lower() or separates(tokenizer)
    tokenizer.model_max_length = 512
    whole = encoded(QUESTIONS[2:], CONTEXTS[2:], tokenizer, stride=8)
    around = encoded([""], ["x"], tokenizer, stride=8)["first"][0]
    assert abs(whole["first"][0] - around - QUESTION) <= 1


def test_targets_lead_back_to_the_answer_or_to_nothing(tokenizer: PreTrainedTokenizerBase) -> None:
    windows = encoded(QUESTIONS, CONTEXTS, tokenizer, stride=16)
    spans = [(CONTEXT.index("nine"), CONTEXT.index("nine") + 4), None, (len(CONTEXT) + 1, len(CONTEXT) + 4)]
    found = targets(windows, spans, 30)
    hits = [0, 0, 0]
    for i, row in enumerate(windows["row"]):
        start, end, null = found["start"][i], found["end"][i], windows["null"][i]
        if start == null:
            assert end == null
            continue
        first = windows["first"][i]
        begins, ends = int(windows["starts"][i][start - first]), int(windows["ends"][i][end - first])
        assert CONTEXTS[row][begins:ends].strip() == CONTEXTS[row][slice(*spans[row])]
        hits[row] += 1
    assert hits[0] >= 1
    assert hits[1] == 0
    assert hits[2] >= 1


def test_an_answer_that_a_window_cuts_is_no_target_of_it() -> None:
    tokenizer = of_characters()
    windows = encoded(["who?"], ["abcdefghij" * 20], tokenizer, stride=0)
    begins = int(windows["starts"][1][0])
    found = targets(windows, [(begins - 2, begins + 2)], 30)
    assert found["start"] == found["end"] == windows["null"]
    assert all(found["unheld"])


def test_an_answer_longer_than_may_be_given_is_told(tokenizer: PreTrainedTokenizerBase) -> None:
    windows = encoded(["who?"] * 2, ["abc def ghi jkl mno"] * 2, tokenizer, stride=8)
    assert targets(windows, [(4, 15), None], 30)["unheld"] == [False, False]
    assert targets(windows, [(4, 15), None], 2)["unheld"] == [True, False]


WORDS = (
    *("三", "三本", "é", "🏆", "5€", "naïve", "❤\ufe0f", "1\ufe0f\u20e3"),
    *("cafe\u0301", "Andre\u0301", "\u200bzero\u200b", "soft\u00ad", "co\u00adop", "बच्चे", "שָׁלוֹם", "ที่นี่", "e\u0301"),
)


@pytest.mark.parametrize("around", [("We met", "in Paris."), ("x  ", "  y"), ("", ""), ("", "y"), ("x", "")])
@pytest.mark.parametrize("word", WORDS, ids=ascii)
def test_every_word_of_any_script_is_an_answer_whole(
    tokenizer: PreTrainedTokenizerBase, word: str, around: tuple[str, str]
) -> None:
    """Of several tokens of bytes, or with characters that a tokenizer drops."""
    context = " ".join([around[0], word, around[1]]).strip(" ")
    begins = context.index(word)
    windows = encoded(["who?"], [context], tokenizer, stride=8)
    found = targets(windows, [(begins, begins + len(word))], 64)
    held = [i for i, start in enumerate(found["start"]) if start != windows["null"][i]]
    assert held
    for i in held:
        first, starts, ends = (windows[name][i] for name in ("first", "starts", "ends"))
        span = slice(int(starts[found["start"][i] - first]), int(ends[found["end"][i] - first]))
        assert context[span] == word
        # the model reads all of it
        before, after = found["start"][i] - 1 - first, found["end"][i] + 1 - first
        assert before < 0 or ends[before] <= begins
        assert after >= len(starts) or starts[after] >= begins + len(word)


def test_a_context_without_tokens_has_a_window_without_any(tokenizer: PreTrainedTokenizerBase) -> None:
    windows = encoded(["what?"], ["\u200b"], tokenizer, stride=8)
    assert windows["row"] == [0]
    assert len(windows["starts"][0]) == len(windows["ends"][0]) <= 3


@pytest.mark.parametrize("length", [5, 8, 12])
def test_a_window_that_is_too_small_is_refused(length: int) -> None:
    tokenizer = of_characters()
    tokenizer.model_max_length = length
    with pytest.raises(RequestError, match=f"data.max_length is {length}, .* expected 16 or more"):
        encoded(["what?"], ["text"], tokenizer, stride=8)


@pytest.mark.parametrize("length", [16, 17, 30])
def test_a_small_window_works_whatever_the_stride(length: int) -> None:
    tokenizer = of_characters()
    tokenizer.model_max_length = length
    windows = encoded(["what is it that is so long?"], ["some-text-that-needs-windows"], tokenizer, stride=1000)
    covered = np.unique(np.concatenate(windows["starts"]))
    assert covered.tolist() == list(range(28))
