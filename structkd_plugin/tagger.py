"""The tagger: embed, encode, emissions, CRF, loss."""

import logging
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data import TextFieldTensors, Vocabulary
from allennlp.models import Model
from allennlp.modules import FeedForward, Seq2SeqEncoder, TextFieldEmbedder, TimeDistributed
from allennlp.nn import InitializerApplicator, RegularizerApplicator
from allennlp.nn.parallel import DdpAccelerator
from allennlp.nn.util import get_text_field_mask

from structkd_plugin.checked_options import CheckedOptions
from structkd_plugin.crf import LinearChainCRF, LinearChainCRFLayer, chain_constraints
from structkd_plugin.crf.spans import span_log_probability
from structkd_plugin.metrics import AccuracyByLanguage, SentenceAverages, SpanF1ByLanguage
from structkd_plugin.metrics.language_metric import LanguageMetric
from structkd_plugin.objectives import Objective
from structkd_plugin.tag_schemes import canonical_scheme, spans_of
from structkd_plugin.teacher_batch import KBestLabellings, TeacherBatch, TeacherDescription, TeacherPotentials

logger = logging.getLogger(__name__)

# Where the readers put the labels.
LABEL_NAMESPACE = "labels"
TRANSITIONS = ("learned", "none")
CONSTRAINTS = ("decoding", "everywhere")
# From (B, T, D) and the mask (B, T) to (B, T, H).
Encoder = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@Model.register("structkd_tagger")
class StructuredTagger(CheckedOptions, Model):
    """
    A sequence labeller with a linear-chain CRF (or a softmax) on top, which can learn from teachers.

    The loss is formed here and nowhere else. With λ_b the interpolation weight of a batch's sentence b,

        loss = mean_b [ λ_b · objective_b + (1 − λ_b) · nll_b ],

    where λ_b is 0 for a sentence without a teacher and 1 for one without gold tags. A sentence with neither says
    nothing and is not counted in the mean.

    # Parameters

    vocab : `Vocabulary`
        With the labels in the namespace `labels`.
    text_field_embedder : `TextFieldEmbedder`
        Gives (B, T, D) for the words of a sentence.
    encoder : `Seq2SeqEncoder`, optional
    feedforward : `FeedForward`, optional
        Between the encoder and the emissions.
    transitions : `str`, optional (default = "learned")
        "learned" for a CRF, "none" for a softmax tagger.
    label_encoding : `str`, optional
        BIO, IOB1, BIOUL, BIOES or BMES where labels write spans; left out where every word has a label of its own, as
        with parts of speech. Decides on the constraints and on the metric.
    constraints : `str`, optional (default = "decoding")
        Where the encoding's constraints hold: "decoding" (and the probabilities that are reported), or "everywhere",
        in training too.
    objective : `Objective`, optional
        What is learnt from teachers; used only for batches that come with a teacher.
    dropout : `float`, optional (default = 0)
        Of the embedded and of the encoded words.
    training_metrics : `bool`, optional (default = False)
        Whether to decode the training batches too, to show the metric on them.
    """

    default_predictor = "structkd_tagger"

    def __init__(
        self,
        vocab: Vocabulary,
        text_field_embedder: TextFieldEmbedder,
        encoder: Optional[Seq2SeqEncoder] = None,
        feedforward: Optional[FeedForward] = None,
        transitions: str = "learned",
        label_encoding: Optional[str] = None,
        constraints: str = "decoding",
        objective: Optional[Objective] = None,
        dropout: float = 0.0,
        training_metrics: bool = False,
        initializer: InitializerApplicator = InitializerApplicator(),  # noqa: B008 (AllenNLP's own convention)
        regularizer: Optional[RegularizerApplicator] = None,
        serialization_dir: Optional[str] = None,
        ddp_accelerator: Optional[DdpAccelerator] = None,
    ) -> None:
        super().__init__(
            vocab,
            regularizer=regularizer,  # type: ignore[arg-type]
            serialization_dir=serialization_dir,
            ddp_accelerator=ddp_accelerator,
        )
        _check_choice("transitions", transitions, TRANSITIONS)
        _check_choice("constraints", constraints, CONSTRAINTS)
        index_to_label = vocab.get_index_to_token_vocabulary(LABEL_NAMESPACE)
        if not index_to_label:
            raise ConfigurationError(
                f"the vocabulary has no labels in the namespace {LABEL_NAMESPACE!r}: train on files with gold tags, "
                "or list the labels under vocabulary.tokens_to_add"
            )
        self.labels: List[str] = [index_to_label[i] for i in range(len(index_to_label))]
        if label_encoding is not None:
            try:
                label_encoding = canonical_scheme(label_encoding)
            except ValueError as error:
                raise ConfigurationError(f"model.label_encoding: {error}") from None
        self.label_encoding = label_encoding
        self.objective = objective
        self.training_metrics = training_metrics
        self.text_field_embedder = text_field_embedder
        self.encoder = encoder
        self.feedforward = feedforward
        self.dropout = torch.nn.Dropout(dropout)
        size = _output_size(text_field_embedder, encoder, feedforward)
        self.emission_layer = TimeDistributed(torch.nn.Linear(size, len(self.labels)))
        allowed = None
        if label_encoding is not None:
            try:
                allowed = chain_constraints(self.labels, label_encoding)
            except ValueError as error:
                raise ConfigurationError(f"model.label_encoding does not fit the labels: {error}") from None
        self.crf = LinearChainCRFLayer(
            len(self.labels),
            constraints=allowed,
            constraints_in=constraints,
            learn_transitions=transitions == "learned",
        )
        self._tag_metric: LanguageMetric = (
            AccuracyByLanguage() if label_encoding is None else SpanF1ByLanguage(label_encoding, self.labels)
        )
        self._averages = SentenceAverages()
        self._warned_of_no_teacher = False
        initializer(self)

    def forward(
        self,
        tokens: TextFieldTensors,
        tags: Optional[torch.Tensor] = None,
        metadata: Optional[List[Dict[str, Any]]] = None,
        teacher: Optional[TeacherBatch] = None,
    ) -> Dict[str, Any]:
        """
        Emissions of a batch, its loss where there is something to learn, and its tags when not training.

        # Parameters

        tokens : `TextFieldTensors`
        tags : `torch.Tensor`, optional
            Shape (B, T), int64; a sentence is unlabelled if any of its words has a tag below 0.
        metadata : `List[Dict[str, Any]]`, optional
            For each sentence its words and its language.
        teacher : `TeacherBatch`, optional

        # Returns

        `Dict[str, Any]` : `emissions` (B, T, L) float32, `mask` (B, T) bool, `metadata`; `loss` () if there are tags or
            teachers; `predicted` (B, T) int64 when not training.
        """
        emissions, mask = self.emissions(tokens)
        output: Dict[str, Any] = {"emissions": emissions, "mask": mask, "metadata": metadata}
        with torch.autocast(emissions.device.type, enabled=False):
            if tags is not None or teacher is not None:
                output["loss"] = self._loss(emissions, mask, tags, metadata, teacher)
            if not self.training or self.training_metrics:
                # (B, T)
                output["predicted"] = self.distribution(emissions, mask).argmax
        if tags is not None and "predicted" in output:
            self._count(output["predicted"], tags, mask, metadata)
        return output

    def emissions(
        self, tokens: TextFieldTensors, encoder: Optional[Encoder] = None
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """
        What is said of each word by itself.

        # Parameters

        tokens : `TextFieldTensors`
        encoder : `Callable`, optional
            Says the same as the model's encoder, in a faster way.

        # Returns

        `Tuple[torch.Tensor, torch.Tensor]` : (B, T, L) float32, and the mask (B, T) bool.
        """
        # (B, T)
        mask = get_text_field_mask(tokens)
        # (B, T, D)
        encoded = self.dropout(self.text_field_embedder(tokens))
        encoder = encoder or self.encoder
        if encoder is not None:
            encoded = self.dropout(encoder(encoded, mask))
        if self.feedforward is not None:
            encoded = self.feedforward(encoded)
        # (B, T, L); a CRF in half precision has gradient errors of several per cent
        return self.emission_layer(encoded).float(), mask

    def distribution(self, emissions: torch.Tensor, mask: torch.Tensor) -> LinearChainCRF:
        """The distribution over taggings that decoding and reported probabilities are of; (B, T, L) and (B, T)."""
        return self.crf(emissions, mask, decoding=True)

    def describe_as_teacher(self, name: str) -> TeacherDescription:
        """What is known of this model as a teacher of itself before the first batch, under the name `name`."""
        return TeacherDescription(
            name=name,
            languages=(),
            labels=tuple(self.labels),
            kind="potentials" if self._trains_a_chain else "log_probabilities",
            label_encoding=self.label_encoding,
            stored=False,
        )

    def potentials_of(self, batch: Mapping[str, Any]) -> TeacherPotentials:
        """
        What this model, as a teacher, says of a batch: the distribution that training sees, as a capture stores it.

        # Parameters

        batch : `Mapping[str, Any]`
            As a data loader gives it; only `tokens` are looked at.

        # Returns

        `TeacherPotentials` : the weight of every sentence is 1.
        """
        emissions, _ = self.emissions(batch["tokens"])
        if not self._trains_a_chain:
            emissions = emissions.log_softmax(dim=2)
        size = len(emissions)
        # (B, L, L), (B, L), (B, L): the same for every sentence
        transitions, start, end = (
            table.to(emissions).expand(size, *table.shape).contiguous() for table in self.crf.tables()
        )
        return TeacherPotentials(emissions, transitions, start, end, weight=emissions.new_ones(size))

    @property
    def legal_labellings(self) -> int:
        """How many of a teacher's best legal labellings of a sentence it learns from."""
        return 0 if self.objective is None else self.objective.legal_labellings

    def check_teachers(self, teachers: Sequence[TeacherDescription]) -> None:
        """
        Whether this model can learn from `teachers`; called before the first step.

        # Raises

        `ConfigurationError` : if there is no objective, or a teacher's labels differ, or it is a softmax tagger
            and the objective needs transitions, or it is not calibrated and the objective needs its reliability.
        """
        if self.objective is None:
            raise ConfigurationError(
                "the trainer has teachers, but the model has no objective: set model.objective, for instance "
                '{"type": "posterior"}, or remove the callbacks structkd_teacher and structkd_self_teacher'
            )
        for teacher in teachers:
            missing = sorted(set(self.labels) - set(teacher.labels))
            extra = sorted(set(teacher.labels) - set(self.labels))
            if missing or extra:
                raise ConfigurationError(
                    f"teacher {teacher.name} and the student have different labels: the teacher lacks "
                    f"{missing or 'none'} and has besides {extra or 'none'}; give both the same labels, "
                    "listing them under vocabulary.tokens_to_add of both configurations"
                )
            if teacher.label_encoding != self.label_encoding:
                raise ConfigurationError(
                    f"teacher {teacher.name} writes spans as {teacher.label_encoding or 'no encoding'}, the student as "
                    f"{self.label_encoding or 'no encoding'}, so that the same labels mean different things: have the "
                    "readers of both convert to one scheme, and set model.label_encoding to it in both configurations"
                )
            if self.objective.needs_transitions and teacher.kind != "potentials":
                raise ConfigurationError(
                    f"the objective {self.objective.name} needs a teacher with transitions, and teacher {teacher.name} "
                    f"is a softmax tagger ({teacher.kind}): use a CRF teacher, or one of the objectives "
                    "posterior, emission and cross_entropy"
                )
            if self.objective.needs_reliability and not teacher.calibrated:
                raise ConfigurationError(
                    f"the objective {self.objective.name} weighs words by how reliable the teacher is, and teacher "
                    f"{teacher.name} is not calibrated: "
                    + (
                        "run `allennlp calibrate-teacher` on its store and set `calibrated: true` of the callback "
                        "structkd_teacher, or set token_weighting of the objective to confidence or entropy"
                        if teacher.stored
                        else "set token_weighting of the objective to confidence or entropy"
                    )
                )
            if self.objective.ignores_transitions and teacher.converted_from is not None:
                raise ConfigurationError(
                    f"the objective {self.objective.name} ignores transitions, by which alone the teacher "
                    f"{teacher.name}, converted from {teacher.converted_from}, tells some labels of "
                    f"{teacher.label_encoding} apart: use another objective, such as posterior, or give the student "
                    f"the labels of {teacher.converted_from}"
                )
            if teacher.stored and teacher.k_best < self.objective.legal_labellings:
                logger.info(
                    "the %d best legal labellings of teacher %s are computed at every step, as its store has %d of a "
                    "sentence; `allennlp cache-teacher --k-best %d` stores as many as the objective takes",
                    self.objective.legal_labellings,
                    teacher.name,
                    teacher.k_best,
                    self.objective.legal_labellings,
                )

    def make_output_human_readable(self, output_dict: Dict[str, Any]) -> Dict[str, Any]:
        """
        What `forward` gave as words, tags and probabilities, one list entry for each sentence.

        # Returns

        `Dict[str, Any]` : of each sentence `words`, `language`, `tags`, `tag_probabilities` (marginal probability of
            each tag) and `label_probabilities` (T, L) (that of every label, in the order of `labels`); with a label
            encoding also `entities`, each with label, start, end (words, the end exclusive) and the probability that
            exactly this span is one.
        """
        emissions, mask = output_dict["emissions"], output_dict["mask"]
        distribution = self.distribution(emissions, mask)
        marginals = distribution.marginals.cpu()
        predicted = output_dict["predicted"].cpu()
        mask = mask.cpu()
        conditionals = None
        if self.label_encoding is not None:
            conditionals = distribution.log_conditionals.exp().cpu()
        result: Dict[str, Any] = {
            "words": [],
            "language": [],
            "tags": [],
            "tag_probabilities": [],
            "label_probabilities": [],
        }
        if self.label_encoding is not None:
            result["entities"] = []
        for b in range(emissions.shape[0]):
            metadata = (output_dict["metadata"] or [{}] * emissions.shape[0])[b]
            # (words,), (words, L)
            labels, rows = predicted[b][mask[b]], marginals[b][mask[b]]
            tags = [self.labels[i] for i in labels.tolist()]
            result["words"].append(metadata.get("words"))
            result["language"].append(metadata.get("language"))
            result["tags"].append(tags)
            result["tag_probabilities"].append(rows.gather(1, labels.unsqueeze(1)).squeeze(1).tolist())
            result["label_probabilities"].append(rows.tolist())
            if conditionals is not None:
                result["entities"].append(self.entities(tags, rows, conditionals[b]))
        return result

    def entities(
        self, tags: Sequence[str], marginals: torch.Tensor, conditionals: torch.Tensor
    ) -> List[Dict[str, Any]]:
        """
        The spans that the tags of one sentence write.

        # Parameters

        tags : `Sequence[str]`
            T well-formed tags.
        marginals : `torch.Tensor`
            Shape (T, L): the probability of each label.
        conditionals : `torch.Tensor`
            Shape (T', L, L), T' at least T − 1: that of each label given the one before it.

        # Returns

        `List[Dict[str, Any]]` : `label`, `start`, `end` (words, the end exclusive) and `probability`, that exactly this
            span with this label is one.
        """
        assert self.label_encoding is not None
        found = []
        for span in spans_of(tags, self.label_encoding):
            log_probability = span_log_probability(
                marginals, conditionals, self.labels, self.label_encoding, span.label, span.start, span.end
            )
            probability = min(1.0, float(torch.tensor(log_probability).exp()))
            found.append({"label": span.label, "start": span.start, "end": span.end, "probability": probability})
        return found

    def get_metrics(self, reset: bool = False) -> Dict[str, float]:
        """The tagging metric by language, and the averages of the parts of the loss in nats per sentence."""
        metrics: Dict[str, float] = {}
        if not self.training or self.training_metrics:
            metrics.update(self._tag_metric.get_metric(reset))
        metrics.update(self._averages.get_metric(reset))
        return metrics

    # ------------------------------------------------------------------------------------------------ private

    @property
    def _trains_a_chain(self) -> bool:
        """Whether words depend on each other in training; forbidden transitions make a chain of a softmax tagger."""
        return self.crf.learn_transitions or (self.crf.constrained and self.crf.constraints_in == "everywhere")

    def _loss(
        self,
        emissions: torch.Tensor,
        mask: torch.Tensor,
        tags: Optional[torch.Tensor],
        metadata: Optional[List[Dict[str, Any]]],
        teacher: Optional[TeacherBatch],
    ) -> torch.Tensor:
        student = self.crf(emissions, mask)
        # (B,)
        nll = zero = emissions.new_zeros(emissions.shape[0])
        if tags is None:
            labelled = torch.zeros_like(zero, dtype=torch.bool)
        else:
            labelled = ((tags >= 0) | ~mask).all(dim=1)
            # Unlabelled sentences stand in as label 0 and are left out below.
            nll = -student.log_prob(tags.clamp(min=0))
            self._refuse_illegal_gold(nll, labelled, metadata)
            nll = torch.where(labelled, nll, zero)
            self._averages("nll", nll, labelled)
        if teacher is None:
            if self.objective is not None and self.training and not self._warned_of_no_teacher:
                self._warned_of_no_teacher = True
                logger.warning(
                    "the model has an objective, but a training batch came without teachers: if you mean to distill, "
                    "add the callback structkd_teacher to trainer.callbacks"
                )
            return nll.sum() / labelled.sum().clamp(min=1)
        taught, objective = self._objective_of(teacher, student, mask)
        interpolation = teacher.interpolation.to(zero.dtype).expand_as(zero)
        weight = torch.where(taught, torch.where(labelled, interpolation, torch.ones_like(zero)), zero)
        counted = labelled | taught
        # 0 times infinity would be NaN: what has no weight has no say.
        per_sentence = torch.where(weight > 0, weight * objective, zero) + torch.where(
            weight < 1, (1 - weight) * nll, zero
        )
        return torch.where(counted, per_sentence, zero).sum() / counted.sum().clamp(min=1)

    def _objective_of(
        self, teacher: TeacherBatch, student: LinearChainCRF, mask: torch.Tensor
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """Whether each sentence has a teacher (B,), and its objective averaged over its teachers (B,)."""
        if self.objective is None:
            raise ConfigurationError("a batch came with a teacher, but the model has no objective: set model.objective")
        total = torch.zeros(mask.shape[0], device=mask.device)
        share = torch.zeros_like(total)
        for potentials in teacher.teachers:
            distribution = LinearChainCRF(
                potentials.emissions,
                potentials.transitions,
                potentials.start_transitions,
                potentials.end_transitions,
                mask,
            )
            legal = self._legal_labellings(self.objective.legal_labellings, distribution, potentials.k_best)
            value, reported = self.objective(self.crf.constrain(distribution), student, legal, potentials.reliability)
            present = potentials.weight > 0
            total = total + torch.where(present, potentials.weight * value, torch.zeros_like(total))
            share = share + potentials.weight
            for name, values in reported.items():
                self._averages(f"objective/{name}", values, potentials.weight)
        taught = share > 0
        self._averages("objective", total, taught)
        return taught, total

    def _legal_labellings(
        self, k: int, teacher: LinearChainCRF, stored: Optional[KBestLabellings]
    ) -> Optional[KBestLabellings]:
        """The K best labellings of a teacher that decoding may give: those that are stored, if there are as many."""
        if k == 0:
            return None
        if stored is not None and stored.scores.shape[1] >= k:
            return stored
        return KBestLabellings(*self.crf.constrain(teacher, decoding=True).k_best(k))

    def _refuse_illegal_gold(
        self, nll: torch.Tensor, labelled: torch.Tensor, metadata: Optional[List[Dict[str, Any]]]
    ) -> None:
        """Gold tags that the constraints forbid have probability 0, and no training can change that."""
        if not (self.crf.constrained and self.crf.constraints_in == "everywhere"):
            return
        illegal = labelled & (nll == float("inf"))
        if bool(illegal.any()):
            b = int(illegal.nonzero()[0])
            source = metadata[b] if metadata is not None else {}
            raise ConfigurationError(
                f"{source.get('file', 'a sentence')}:{source.get('line', '?')}: the gold tags of "
                f"{' '.join(source.get('words', []))!r} are not well-formed {self.label_encoding}, which "
                "`constraints: everywhere` gives probability 0; have the reader repair them (ill_formed: repair), "
                "or set constraints: decoding"
            )

    def _count(
        self,
        predicted: torch.Tensor,
        tags: torch.Tensor,
        mask: torch.Tensor,
        metadata: Optional[List[Dict[str, Any]]],
    ) -> None:
        """Count the labelled sentences of a batch in the metric."""
        # (B, T): one transfer for all three
        guesses, truths, words = torch.stack([predicted, tags, mask.to(tags.dtype)]).cpu().numpy()
        inside = words != 0
        # (B,)
        labelled = ((truths >= 0) | ~inside).all(axis=1) & inside.any(axis=1)
        inside &= labelled[:, None]
        languages = [
            metadata[b].get("language") or "und" if metadata is not None else "und" for b in labelled.nonzero()[0]
        ]
        self._tag_metric.count(guesses[inside], truths[inside], inside.sum(axis=1)[labelled], languages)


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ConfigurationError(f"model.{name} must be one of {', '.join(choices)}, not {value!r}")


def _output_size(
    embedder: TextFieldEmbedder, encoder: Optional[Seq2SeqEncoder], feedforward: Optional[FeedForward]
) -> int:
    """Size of what the emissions are made from, after checking that the parts fit each other."""
    size = embedder.get_output_dim()
    for name, part, option in (("encoder", encoder, "input_size"), ("feedforward", feedforward, "input_dim")):
        if part is None:
            continue
        if part.get_input_dim() != size:
            raise ConfigurationError(
                f"model.{name} takes vectors of {part.get_input_dim()} numbers, but gets {size}: "
                f"set its {option} to {size}"
            )
        size = part.get_output_dim()
    return size
