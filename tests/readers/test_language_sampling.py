from collections import Counter

import pytest
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from hypothesis import given
from hypothesis import strategies as st

from structkd_plugin.readers.language_sampling import AtLeastSampling, ExponentialSampling, LanguageSampling

counts = st.dictionaries(st.sampled_from(["de", "en", "eu", "fr", "nl"]), st.integers(0, 300), min_size=1)
alphas = st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0])


def sampled(sampling, counts):
    return list(sampling.sample(counts, lambda language: iter([(language, i) for i in range(counts[language])])))


@given(counts, alphas)
def test_quotas_sum_to_the_number_of_sentences_and_are_the_formula_rounded(counts, alpha):
    quotas = ExponentialSampling(alpha).quotas(counts)
    assert sum(quotas.values()) == sum(counts.values())
    weights = {language: count**alpha for language, count in counts.items() if count}
    for language, quota in quotas.items():
        if counts[language]:
            share = sum(counts.values()) * weights[language] / sum(weights.values())
            assert abs(quota - share) < 1 + 1e-9
        else:
            assert quota == 0


@given(counts)
def test_alpha_1_keeps_every_sentence_once_and_alpha_0_makes_languages_equal(counts):
    assert ExponentialSampling(1).quotas(counts) == counts
    assert Counter(sampled(ExponentialSampling(1), counts)).keys() == {
        (language, i) for language, count in counts.items() for i in range(count)
    }
    quotas = [quota for language, quota in ExponentialSampling(0).quotas(counts).items() if counts[language]]
    assert not quotas or max(quotas) - min(quotas) <= 1


@given(counts, alphas, st.integers(0, 3))
def test_copies_are_whole_and_the_rest_has_no_repetition(counts, alpha, seed):
    sampling = ExponentialSampling(alpha, seed=seed)
    quotas = sampling.quotas(counts)
    times = Counter(sampled(sampling, counts))
    for language, count in counts.items():
        of_language = [times[language, i] for i in range(count)]
        assert sum(of_language) == quotas[language]
        assert not of_language or max(of_language) - min(of_language) <= 1


@given(counts, st.integers(1, 400))
def test_small_languages_are_repeated_and_nothing_is_left_out(counts, least):
    times = Counter(sampled(AtLeastSampling(least), counts))
    for language, count in counts.items():
        of_language = [times[language, i] for i in range(count)]
        assert sum(of_language) == (max(count, least) if count else 0)
        assert min(of_language, default=1) >= 1
        assert max(of_language, default=0) - min(of_language, default=0) <= 1


def test_at_least_needs_a_number():
    assert LanguageSampling.from_params(Params({"type": "at_least", "sentences": 3})).quotas({"en": 2}) == {"en": 3}
    with pytest.raises(ConfigurationError, match="sentences is 0, but at_least needs at least 1"):
        AtLeastSampling(0)


@given(counts.filter(lambda counts: sum(counts.values())), alphas)
def test_every_beginning_of_the_stream_has_its_part_of_every_language(counts, alpha):
    quotas = ExponentialSampling(alpha).quotas(counts)
    stream = [language for language, _ in sampled(ExponentialSampling(alpha), counts)]
    for end in range(0, len(stream) + 1, 17):
        for language, quota in quotas.items():
            assert abs(stream[:end].count(language) - end * quota / len(stream)) <= len(counts)


def test_the_choice_depends_on_the_seed_and_on_nothing_else():
    counts = {"de": 40, "nl": 10}
    one = sampled(ExponentialSampling(0.3, seed=1), counts)
    assert one == sampled(ExponentialSampling(0.3, seed=1), {"nl": 10, "de": 40})
    other = sampled(ExponentialSampling(0.3, seed=2), counts)
    assert one != other
    assert Counter(language for language, _ in one) == Counter(language for language, _ in other)


@pytest.mark.parametrize(
    ("cap", "expected"),
    [(12, {"de": 12, "nl": 10}), ({"de": 7}, {"de": 7, "nl": 10}), (100, {"de": 40, "nl": 10})],
    ids=["all", "one", "above"],
)
def test_caps_leave_so_many_different_sentences(cap, expected):
    counts = {"de": 40, "nl": 10}
    chosen = sampled(ExponentialSampling(max_per_language=cap), counts)
    assert Counter(language for language, _ in chosen) == expected
    assert len(set(chosen)) == len(chosen)
    # Copies come from the same capped pool.
    equal = sampled(ExponentialSampling(alpha=0.0, max_per_language=cap), counts)
    assert len(equal) == sum(expected.values())
    assert len({item for item in equal if item[0] == "de"}) <= expected["de"]


def test_capped_sentences_are_a_random_choice_in_the_order_of_the_files():
    chosen = [i for _, i in sampled(ExponentialSampling(max_per_language=10), {"de": 1000})]
    assert chosen == sorted(chosen)
    assert chosen[-1] > 100


def test_is_what_a_config_without_type_means():
    sampling = LanguageSampling.from_params(Params({"alpha": 0.5, "max_per_language": {"de": 3}, "seed": 1}))
    assert isinstance(sampling, ExponentialSampling)


@pytest.mark.parametrize(
    "arguments",
    [{"alpha": -0.1}, {"alpha": 2}, {"max_per_language": 0}, {"max_per_language": {"de": -1}}],
    ids=str,
)
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(ConfigurationError, match=r"alpha is|max_per_language is"):
        ExponentialSampling(**arguments)
