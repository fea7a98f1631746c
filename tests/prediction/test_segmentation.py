"""Sentences of raw texts: where they end in many languages, and that nothing of a text is lost, whatever is in it."""

import gc
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from typing import List

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structkd_plugin import tokenization
from structkd_plugin.prediction.segmentation import TextSentence, _Scan, sentences_of, split_sentences
from structkd_plugin.tokenization import split_words, text_words

LANGUAGES = [
    "und",
    *[
        "en",
        "de",
        "es",
        "nl",
        "fr",
        "it",
        "pt",
        "sv",
        "tr",
        "sl",
        "eu",
        "id",
        "ru",
        "zh",
        "da",
        "hr",
        "sk",
        "he",
        "fa",
        "ta",
        "ar",
        "hi",
        "ja",
    ],
]

# What texts of the world have in them: marks, quotation marks, several scripts, and everything that is hard to see.
PIECES = [
    *[
        ". ",
        ".",
        "! ",
        "?",
        "...",
        "\u2026",
        "\u3002",
        "\u061f ",
        "\u0964 ",
        "\u201c",
        "\u201d",
        "\u00ab",
        '"',
        "(",
        ")",
    ],
    *["Dr.", "z. B.", "U.S.", "3.14", "5.", "IV.", "a", "Die", "the", "wort", "Haus", "\u4f60\u597d", "\u0645\u06cc"],
    *[
        "\u0b85\u0bae\u0bcd",
        "e\u0301",
        "\u0301",
        "\U0001f469\u200d\U0001f4bb",
        "\U0001f1e9\U0001f1ea",
        "\U0001f44d\U0001f3fd",
    ],
    *["\r\n", "\n", "\n\n", "\u2028", "\u2029", "\u00a0", "\t", " ", "\u200b", "\u200c", "\u200d", "\ufeff", "\u00ad"],
    *["\ud800", "\udc00", "\x00", "\u200e", "\u200f", "\u202b", "\x1c", "\x85", "\u3000"],
]


def texts(sentences: List[TextSentence], text: str) -> List[str]:
    return [text[sentence.start : sentence.end] for sentence in sentences]


def split(text: str, language: str, line_breaks: bool = False) -> List[str]:
    return texts(sentences_of(text, language, line_breaks), text)


def visible(text: str) -> List[str]:
    return [one for one in text if unicodedata.category(one) not in ("Cc", "Cf", "Zs", "Zl", "Zp")]


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.one_of(st.sampled_from(PIECES), st.characters(), st.text("ab. ", max_size=3)), max_size=25).map(
        "".join
    ),
    st.sampled_from(LANGUAGES),
    st.booleans(),
)
def test_nothing_is_lost_and_offsets_are_those_of_the_text(text: str, language: str, line_breaks: bool) -> None:
    found = sentences_of(text, language, line_breaks)
    words = [word for sentence in found for word in sentence.words]
    assert words == text_words(text, language)
    assert len(found) <= len(words)
    end = 0
    for sentence in found:
        assert (sentence.start, sentence.end) == (sentence.words[0].start, sentence.words[-1].end)
        for word in sentence.words:
            assert end <= word.start < word.end
            assert text[word.start : word.end] == word.text
            assert visible(word.text)
            assert not visible(text[end : word.start])
            end = word.end
    assert not visible(text[end:])
    assert (found == []) == (not visible(text))
    assert sentences_of(text, language, line_breaks) == found
    assert split_sentences(text, language, line_breaks) == [
        (sentence.start, sentence.end, [word.text for word in sentence.words]) for sentence in found
    ]


# Most have nothing that ends a sentence.
@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.sampled_from([*"abXY5", " ", "a ", "\u200b", "\u00a0", "\u0301", "\u4f60", ".", "(", "\n", "a.b"]),
        max_size=12,
    ).map("".join),
    st.sampled_from(LANGUAGES),
    st.booleans(),
)
def test_a_text_that_is_not_scanned_is_one_sentence(text: str, language: str, line_breaks: bool) -> None:
    words = split_words(text, language)
    found = split_sentences(text, language, line_breaks)
    scan = _Scan(text, words, language, line_breaks)
    starts = list(scan.starts())
    assert [sentence.start for sentence in found] == [scan.begins[number] for number in starts]
    assert [word for sentence in found for word in sentence.words] == words
    assert [sentence.end for sentence in found] == [
        scan.ends[end - 1] for end in [*starts[1:], *([len(words)] if words else [])]
    ]


def test_marks_before_the_first_word_take_a_time_that_grows_no_faster_than_they_do() -> None:
    begun = time.process_time()
    assert len(sentences_of(". " * 20_000 + "a", "und")) == 1
    assert time.process_time() - begun < 5


# Written with a bar where a sentence ends.
EXAMPLES = [
    ("en", "He met Dr. Smith at 5 p.m. on Jan. 3.|It cost $3.14.|Was it much?|No!"),
    ("en", "She lives in the U.S. and he in the U.K.|They write."),
    ("en", "J. R. R. Tolkien wrote it.|See example.com, p. 5, etc.|The end."),
    ("en", "“Really?” she asked.|“Yes.”|He left."),
    ("en", 'He said: "I know."|"Well," she said, "go!"|So he went (at last!).|(It was late.)|Good.'),
    ("en", "Wait... what?|And then…|Nothing happened.|What?!|Yes."),
    ("en", "1. Open it.|2. Close it."),
    ("en", "He (spelling??) came, she (well!) left."),
    ("en", "Yahoo!, he cried.|Version 2.0.1 is out.|Go to https://a.org/b.html?c=d.e!f now."),
    ("de", "Dr. Müller kam am 5. Mai, z. B. mit Prof. Meier.|Er blieb bzw. ging.|Das ist alles."),
    ("de", "Ludwig XIV. war König.|Er starb 1715.|Danach kam Ludwig XV. auf den Thron."),
    ("de", "„Kommst du?“, fragte er.|„Nein.“|»Doch!«|Sie ging."),
    ("de", "Es kostet 3,50 Euro.|Er wurde 25.|Danach wurde gefeiert."),
    ("es", "El Sr. Pérez llegó.|¿Qué hora es?|¡Vamos!|«Ya voy.»|Adiós."),
    ("fr", "M. Dupont est là.|«\u00a0Bonjour\u00a0!\u00a0»|Il sourit.|Et après\u00a0?|Rien."),
    ("nl", "De heer J. de Vries kwam om 5 uur.|Hij zei: ‘Ja.’|Toen ging hij weg, o.a. naar huis."),
    ("it", "Il Sig. Rossi è qui.|Perché?|Non lo so..."),
    ("pt", "O Dr. Silva chegou.|Que horas são?|São 5."),
    ("sv", "Han kom kl. 5, bl.a. för att äta.|Hon gick."),
    ("tr", "2. Mehmet geldi.|Dr. Yılmaz gitti.|Neden?"),
    ("sl", "Prišel je 5. maja.|Odšel je npr. domov.|Zakaj?"),
    ("hr", "Dr. Horvat je došao 5. svibnja.|Zašto?|Ne znam."),
    ("sk", "Prišiel 5. mája.|Prečo?"),
    ("da", "Han kom d. 5. maj.|Hun gik f.eks. hjem.|Hvorfor?"),
    ("eu", "Etxera joan zen.|Zergatik?|Ez dakit."),
    ("id", "Dr. Budi datang.|Mengapa?|Tidak tahu."),
    (
        "ru",
        "А. С. Пушкин приехал.|Зачем?|Не знаю.",
    ),
    ("zh", "他走了。|真的吗？|“好！”|再见。"),
    ("ja", "行きました。|「はい。」|どうして？"),
    (
        "hi",
        "वह घर गया।|क्यों?|पता नहीं।",
    ),
    (
        "fa",
        "او رفت.|چرا؟|نمی\u200cدانم.",
    ),
    (
        "ar",
        "ذهب إلى البيت.|لماذا؟|لا أعرف.",
    ),
    ("he", "הוא הלך.|למה?|לא יודע."),
    ("ta", "அவன் போனான்.|ஏன்?"),
    ("und", "One.|Two, i.e. J. Smith.|Three \U0001f44d\U0001f3fd!|\U0001f469\u200d\U0001f4bb Four."),
]


@pytest.mark.parametrize(("language", "marked"), EXAMPLES)
def test_where_sentences_end(language: str, marked: str) -> None:
    expected = marked.split("|")
    joined = "" if language in ("zh", "ja") else " "
    assert split(joined.join(expected), language) == expected
    # However they are wrapped.
    assert split("\r\n".join(expected), language) == expected
    # And whatever is before and after.
    assert split("\ufeff \n" + joined.join(expected) + "\u200b\n", language) == expected


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028", "\x85"])
def test_a_line_end_is_white_space_and_a_blank_line_ends_a_sentence(end: str) -> None:
    assert split(f"Ein Satz,{end}der weiter geht", "de") == [f"Ein Satz,{end}der weiter geht"]
    assert split(f"Eine \u00dcberschrift{end}{end}Ein Satz", "de") == ["Eine \u00dcberschrift", "Ein Satz"]
    assert split(f"Milch{end} \t{end}{end}Brot", "de") == ["Milch", "Brot"]
    assert split(f"Milch{end}Brot{end}", "de", line_breaks=True) == ["Milch", "Brot"]


def test_a_paragraph_separator_ends_a_sentence() -> None:
    assert split("Titel\u2029Ein Satz", "de") == ["Titel", "Ein Satz"]


@pytest.mark.parametrize("text", ["", " \r\n\u00a0\t", "\ufeff", "\u200b\u00ad\u200f\x00"])
def test_a_text_without_anything_visible_has_no_sentence(text: str) -> None:
    assert sentences_of(text, "en") == []


def test_a_sentence_is_never_cut() -> None:
    text = "wort " * 5000 + "ende. Noch einer."
    first, second = sentences_of(text, "de")
    assert [len(first.words), len(second.words)] == [5002, 3]


@pytest.mark.parametrize(
    ("language", "piece"),
    [
        ("de", "Dr. M\u00fcller kam am 5. Mai. Er blieb. "),
        ("und", "wort "),
        ("en", "abcdefghij"),
        ("en", "......!!!???"),
        ("de", "a" + "\u0301" * 50),
        ("zh", "\u4f60\u597d\u3002"),
        ("fa", "\u0645\u06cc\u200c"),
        ("en", '((\u201c"'),
        ("en", "\n "),
        ("en", "\U0001f469\u200d"),
    ],
)
def test_the_time_grows_with_the_text_and_no_faster(language: str, piece: str) -> None:
    """Four times the text in less than eight times the time: the best of three, of this thread, nothing collected."""
    sentences_of(piece, language)
    seconds = []
    gc.disable()
    try:
        for characters in (15_000, 60_000):
            text = piece * (characters // len(piece))
            times = []
            for _ in range(3):
                start = time.thread_time()
                sentences_of(text, language)
                times.append(time.thread_time() - start)
            seconds.append(min(times))
    finally:
        gc.enable()
    assert seconds[1] < 8 * seconds[0] + 0.2


def test_what_it_says_depends_on_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    texts_of = [
        (f"Dr. Wort{i} kam am {i % 31}. Mai. Er ging z.B. {i}x.", code) for i in range(60) for code in ("de", "en")
    ]
    expected = [sentences_of(text, language) for text, language in texts_of]
    monkeypatch.setattr(tokenization, "_MOST_STRINGS", 1500)
    assert [sentences_of(text, language) for text, language in texts_of[::-1]] == expected[::-1]
    tokenization._rules_of.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda pair: sentences_of(*pair), texts_of)) == expected
