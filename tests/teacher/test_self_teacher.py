"""The moving average of the student as its teacher: what it is, what it says, whom it shares with, how it resumes."""

import json
import logging
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Dict, Iterator, List, Optional, Tuple

import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import DataLoader, Vocabulary
from allennlp.data.data_loaders import SimpleDataLoader
from allennlp.models import Model
from allennlp.models.archival import load_archive
from allennlp.training.callbacks import TrainerCallback
from allennlp.training.moving_average import ExponentialMovingAverage

from structkd_plugin.decorating_loader import DecoratingDataLoader
from structkd_plugin.readers.column_reader import ColumnReader
from structkd_plugin.teacher.self_teacher import SelfTeacherCallback, moving_average
from structkd_plugin.teacher.self_teacher_loader import SelfTeacherDataLoader, joined_by
from structkd_plugin.teacher_batch import TeacherBatch, TeacherDescription, TeacherPotentials, TeachesItself
from tests.crf.enumeration import enumerate_sentence

from .training import LABELS, BreakOff, config, difference, in_two_processes, student, train

# Of float32 sums in another order.
ROUNDING = 1e-5
OWN = {"type": "structkd_self_teacher"}


def self_taught(data: Path, own: Optional[Dict[str, Any]] = None, **model: Any) -> Dict[str, Any]:
    """The configuration of a training without stores."""
    settings = config(data, **{"objective": {"type": "cross_entropy"}, **model})
    settings["trainer"]["callbacks"] = [{**OWN, **(own or {})}]
    return settings


def averages(output: Path) -> Dict[str, torch.Tensor]:
    """What is in the last checkpoint of a training; the callback stands first or second in it."""
    [*_, last] = sorted(output.glob("training_state_e*_b0.th"), key=lambda file: int(file.name.split("_")[2][1:]))
    [state] = [state for state in torch.load(last)["callbacks"] if "average" in state]
    return state["average"]


# ------------------------------------------------------------------------------------------------ the average


class TestMovingAverage:
    def net(self) -> torch.nn.Sequential:
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5))

    @pytest.mark.parametrize("decay", [0.0, 0.3, 0.999])
    def test_it_is_the_one_of_allennlp(self, decay: float) -> None:
        net = self.net()
        other = ExponentialMovingAverage(net.named_parameters(), decay)
        average = moving_average(net, decay)
        for step in range(1, 13):
            with torch.no_grad():
                for parameter in net.parameters():
                    parameter.add_(torch.randn_like(parameter))
            other.apply(step)
            average.update_parameters(net)
            for name, parameter in average.module.named_parameters():
                torch.testing.assert_close(parameter, other._shadows[name])

    def test_it_begins_as_the_model(self) -> None:
        net = self.net()
        assert difference(moving_average(net, 0.9).module.state_dict(), net.state_dict()) == 0

    def test_buffers_are_copied(self) -> None:
        net = self.net()
        average = moving_average(net, 0.9)
        net(torch.randn(5, 3))
        average.update_parameters(net)
        statistics, copied = net[1].state_dict(), average.module[1].state_dict()
        assert statistics["num_batches_tracked"] == 1
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            assert torch.equal(copied[name], statistics[name])

    def test_it_evaluates_and_takes_no_gradient(self) -> None:
        net = self.net()
        average = moving_average(net, 0.9)
        assert not any(module.training for module in average.modules())
        assert not any(parameter.requires_grad for parameter in average.parameters())
        assert all(parameter.requires_grad for parameter in net.parameters())
        assert net.training

    def test_parameters_that_are_not_trained_stay_what_they_are(self) -> None:
        net = self.net()
        net[0].requires_grad_(False)
        average = moving_average(net, 0.9)
        for _ in range(3):
            average.update_parameters(net)
        assert difference(average.module.state_dict(), net.state_dict()) == 0

    def test_its_state_is_all_there_is(self) -> None:
        net, resumed = self.net(), None
        average = moving_average(net, 0.9)
        for step in range(6):
            with torch.no_grad():
                net[0].weight.add_(1.0)
            average.update_parameters(net)
            if resumed is not None:
                resumed.update_parameters(net)
            if step == 2:
                resumed = moving_average(net, 0.9)
                resumed.load_state_dict(average.state_dict())
        assert resumed is not None
        assert difference(average.state_dict(), resumed.state_dict()) == 0


# ------------------------------------------------------------------------------------------------ the loader

WORDS = (("Ada", "sleeps"), ("why",), ("Boris", "sees", "Lima"))


def batches_of(model: Model, *, labelled: bool = True) -> DataLoader:
    """Of two sentences each."""
    reader = ColumnReader()
    instances = [
        reader.text_to_instance(list(words), ["O"] * len(words) if labelled else None, language="en") for words in WORDS
    ]
    for instance in instances:
        reader.apply_token_indexers(instance)
    return SimpleDataLoader(instances, batch_size=2, vocab=model.vocab)


def tagger(**model: Any) -> Model:
    torch.manual_seed(3)
    vocabulary = Vocabulary()
    for label in LABELS:
        vocabulary.add_token_to_namespace(label, "labels")
    for word in sorted({word for words in WORDS for word in words}):
        vocabulary.add_token_to_namespace(word, "tokens")
    settings = config(Path(), **{"objective": {"type": "cross_entropy"}, **model})["model"]
    return Model.from_params(Params(json.loads(json.dumps(settings))), vocab=vocabulary)


def trainer_for(model: Any, callbacks: List[TrainerCallback], **changes: Any) -> Any:
    """As much of a trainer as callbacks look at."""
    return SimpleNamespace(
        model=model,
        data_loader=batches_of(model),
        _callbacks=callbacks,
        _num_epochs=2,
        _ddp_wrapped_model=None,
        **{
            "_epochs_completed": 0,
            "_batches_in_epoch_completed": 0,
            "_start_after_epochs_completed": 0,
            "_start_after_batches_in_epoch_completed": 0,
            **changes,
        },
    )


def callback(**params: Any) -> SelfTeacherCallback:
    """As a trainer makes it from a configuration."""
    made = TrainerCallback.from_params(Params({**OWN, **params}), serialization_dir="unused")
    assert isinstance(made, SelfTeacherCallback)
    return made


def started(model: Model, **params: Any) -> Any:
    own = callback(**params)
    trainer = trainer_for(model, [own])
    own.on_start(trainer)
    return trainer


@pytest.mark.parametrize("objective", ["cross_entropy", "posterior", "emission"])
def test_at_first_the_objective_is_at_its_minimum(objective: str) -> None:
    """The average is the student still: divergence and gradient are 0."""
    model = tagger(objective={"type": objective})
    trainer = started(model, schedule={"type": "constant", "value": 1.0})
    model.train()
    for batch in trainer.data_loader:
        model.zero_grad()
        model(**batch)["loss"].backward()
        assert max(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None) < 1e-6
    if objective == "cross_entropy":
        assert model.get_metrics()["objective/kl"] == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("model", [{}, {"constraints": "everywhere"}, {"transitions": "none"}], ids=str)
def test_what_it_says_are_the_potentials_of_the_student(model: Dict[str, Any]) -> None:
    made = tagger(**model)
    for batch in started(made).data_loader:
        [slot] = batch["teacher"].teachers
        output = made.eval()(tokens=batch["tokens"])
        expected = output["emissions"].detach()
        softmax = model.get("transitions") == "none"
        torch.testing.assert_close(slot.emissions, expected.log_softmax(2) if softmax else expected)
        size, words, labels = slot.emissions.shape
        assert [tuple(tensor.shape) for tensor in slot[1:5]] == [
            (size, labels, labels),
            (size, labels),
            (size, labels),
            (size,),
        ]
        for of_sentences, table in zip(slot[1:4], made.crf.tables(), strict=True):
            assert all(torch.equal(row, table) for row in of_sentences)
        assert torch.isinf(slot.transitions).any() == ("constraints" in model)
        assert softmax == (not slot.transitions.any())
        assert slot.weight.tolist() == [1.0] * size
        assert {tensor.dtype for tensor in slot[:5]} == {torch.float32}
        assert not any(tensor.requires_grad for tensor in slot[:5])
        assert slot.k_best is slot.reliability is None
        assert words == max(map(len, (sentence["words"] for sentence in batch["metadata"])))


def test_it_drops_nothing_out_and_moves_with_steps_alone() -> None:
    model = tagger(dropout=0.5)
    own = callback(decay=0.9)
    trainer = trainer_for(model, [own])
    own.on_start(trainer)
    model.train()

    def said() -> torch.Tensor:
        return next(iter(trainer.data_loader))["teacher"].teachers[0].emissions

    before = said()
    model(**next(iter(trainer.data_loader)))["loss"].backward()
    torch.optim.SGD(model.parameters(), 0.1).step()
    own.on_batch(trainer, [], [], {}, 0, 1, is_training=False)
    assert torch.equal(said(), before)
    own.on_batch(trainer, [], [], {}, 0, 1, is_training=True)
    assert not torch.equal(said(), before)


def test_sentences_without_gold_tags_learn_from_it() -> None:
    model = tagger()
    own = callback(schedule={"type": "constant", "value": 0.0})
    trainer = trainer_for(model, [own])
    trainer.data_loader = batches_of(model, labelled=False)
    own.on_start(trainer)
    with torch.no_grad():
        model.crf.transitions.add_(torch.randn(5, 5))
    model(**next(iter(trainer.data_loader)))["loss"].backward()
    assert model.crf.transitions.grad.abs().max() > 1e-3


@pytest.mark.parametrize(
    ("params", "expected"),
    [({}, [0.0, 0.125, 0.25, 0.375]), ({"schedule": {"type": "constant", "value": 0.25}}, [0.25] * 4)],
    ids=["rising by default", "as configured"],
)
def test_schedule(params: Dict[str, Any], expected: List[float]) -> None:
    loader = started(tagger(), **params).data_loader
    assert [batch["teacher"].interpolation.item() for _ in range(2) for batch in loader] == pytest.approx(expected)


def test_a_loader_that_does_not_know_its_length_needs_another_schedule() -> None:
    class Lazy(DecoratingDataLoader):
        def __len__(self) -> int:
            raise TypeError

    model = tagger()
    for params, message in (({}, "number of batches of an epoch"), ({"schedule": {"per": "epoch"}}, None)):
        own = callback(**params)
        trainer = trainer_for(model, [own])
        trainer.data_loader = Lazy(trainer.data_loader)
        if message is None:
            own.on_start(trainer)
        else:
            with pytest.raises(ConfigurationError, match=message):
                own.on_start(trainer)


def test_replayed_batches_ask_no_teacher() -> None:
    model = tagger()
    own = callback()
    past = {"_start_after_epochs_completed": 1, "_start_after_batches_in_epoch_completed": 1}
    trainer = trainer_for(model, [own], **past)
    own.on_start(trainer)
    taught = []
    for epoch in range(2):
        for batch_in_epoch, batch in enumerate(trainer.data_loader):
            taught.append((epoch, batch_in_epoch, "teacher" in batch))
            trainer._batches_in_epoch_completed = batch_in_epoch + 1
        trainer._epochs_completed, trainer._batches_in_epoch_completed = epoch + 1, 0
    assert taught == [(0, 0, False), (0, 1, False), (1, 0, False), (1, 1, True)]


def slot_of(*weights: float) -> TeacherPotentials:
    size = len(weights)
    return TeacherPotentials(
        torch.randn(size, 2, 3), torch.randn(size, 3, 3), *torch.randn(2, size, 3), torch.tensor(weights)
    )


def test_shares_add_up_to_one() -> None:
    """Sentences of two teachers, of one, and of none."""
    stored = TeacherBatch([slot_of(0.5, 1.0, 0.0), slot_of(0.5, 0.0, 0.0)], torch.tensor(0.7))
    own = slot_of(1.0, 1.0, 1.0)
    joined = joined_by(stored, own, 0.25)
    shares = torch.stack([slot.weight for slot in joined.teachers])
    torch.testing.assert_close(shares, torch.tensor([[0.4, 0.8, 0.0], [0.4, 0.0, 0.0], [0.2, 0.2, 1.0]]))
    torch.testing.assert_close(shares.sum(0), torch.ones(3))
    assert joined.interpolation is stored.interpolation
    for slot, before in zip(joined.teachers, [*stored.teachers, own], strict=True):
        assert all(a is b for a, b in zip(slot[:4], before[:4], strict=True))
    # Nothing that was given is changed.
    assert stored.teachers[0].weight.tolist() == [0.5, 1.0, 0.0]


# ------------------------------------------------------------------------------------------------ where it stands


class Plain(DecoratingDataLoader):
    def iter_epoch(self, epoch: int) -> Iterator[Any]:
        return iter(self.inner)


class Last(Plain):
    decorates_last = True


class TestPlaceInTheChain:
    def chain(self, trainer: Any) -> List[str]:
        names, loader = [], trainer.data_loader
        while isinstance(loader, DecoratingDataLoader):
            names.append(type(loader).__name__)
            loader = loader.inner
        return [*names, loader]

    def test_it_stays_outside_of_those_that_are_put_in_later(self) -> None:
        trainer = SimpleNamespace(data_loader="loader")
        last = Last("loader")
        last.put_in(trainer)
        assert self.chain(trainer) == ["Last", "loader"]
        # Someone who knows nothing of it, between the two.
        trainer.data_loader = DecoratingDataLoader(trainer.data_loader)
        inside = Plain(trainer.data_loader)
        inside.put_in(trainer)
        assert self.chain(trainer) == ["DecoratingDataLoader", "Last", "Plain", "loader"]
        last.take_out(trainer)
        assert self.chain(trainer) == ["DecoratingDataLoader", "Plain", "loader"]
        inside.take_out(trainer)
        assert self.chain(trainer) == ["DecoratingDataLoader", "loader"]

    def test_without_one_that_decorates_last_the_latest_is_outermost(self) -> None:
        trainer = SimpleNamespace(data_loader="loader")
        Plain("loader").put_in(trainer)
        DecoratingDataLoader("loader").put_in(trainer)
        Last("loader").put_in(trainer)
        assert self.chain(trainer) == ["Last", "DecoratingDataLoader", "Plain", "loader"]

    def test_the_callback_leaves_the_trainer_as_it_found_it(self) -> None:
        own = callback()
        trainer = trainer_for(tagger(), [own])
        before = trainer.data_loader
        own.on_start(trainer)
        assert isinstance(trainer.data_loader, SelfTeacherDataLoader)
        own.on_end(trainer)
        assert trainer.data_loader is before


class TestRefusals:
    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"decay": 1.0}, r"`decay` of the callback structkd_self_teacher is in \[0, 1\), not 1.0"),
            ({"decay": -0.1}, "`decay` .* not -0.1"),
            ({"decay": math.nan}, "`decay` .* not nan"),
            ({"weight": 0}, "`weight` .* is a finite number above 0, not 0"),
            ({"weight": math.inf}, "`weight` .* not inf"),
            ({"decai": 0.9}, "structkd_self_teacher .* has no option 'decai'; did you mean 'decay'"),
        ],
    )
    def test_options(self, params: Dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            callback(**params)

    def test_a_model_that_cannot_teach(self) -> None:
        model = tagger()
        trainer = trainer_for(model, [])
        trainer.model = torch.nn.Linear(2, 2)
        with pytest.raises(ConfigurationError, match="such as structkd_tagger; Linear has no method potentials_of"):
            callback().on_start(trainer)

    @pytest.mark.parametrize(
        ("model", "message"),
        [
            (
                {"objective": {"type": "k_best", "k": 2}, "transitions": "none"},
                "teacher structkd_self_teacher is a soft",
            ),
            (
                {"objective": {"type": "posterior", "token_weighting": "reliability"}},
                "teacher structkd_self_teacher is not calibrated: set token_weighting of the objective to conf",
            ),
        ],
        ids=["transitions", "reliability"],
    )
    def test_objectives_that_cannot_learn_from_it(self, model: Dict[str, Any], message: str) -> None:
        own, made = callback(), tagger(**model)
        trainer = trainer_for(made, [own])
        before = trainer.data_loader
        with pytest.raises(ConfigurationError, match=message):
            own.on_start(trainer)
        # The trainer ends its callbacks whatever happened.
        own.on_end(trainer)
        assert trainer.data_loader is before

    def test_a_model_without_an_objective(self) -> None:
        model = tagger()
        model.objective = None
        with pytest.raises(ConfigurationError, match="the model has no objective"):
            started(model)

    def test_two_of_them(self) -> None:
        both = [callback(), callback(decay=0.9)]
        with pytest.raises(ConfigurationError, match="is listed more than once: a student has one moving average"):
            both[0].on_start(trainer_for(tagger(), both))

    def test_two_schedules(self, data: Path, stores: Dict[str, str], tmp_path: Path) -> None:
        settings = student(data, stores)
        settings["trainer"]["callbacks"].append({**OWN, "schedule": {"type": "constant", "value": 0.5}})
        with pytest.raises(ConfigurationError, match="set `schedule` of structkd_teacher, and leave it out of"):
            train(settings, tmp_path / "run")

    def test_a_model_that_is_split_over_devices(self) -> None:
        trainer = trainer_for(tagger(), [])
        trainer._ddp_wrapped_model = SimpleNamespace(is_sharded=True)
        with pytest.raises(ConfigurationError, match="use the ddp_accelerator of torch"):
            callback().on_start(trainer)


def test_the_tagger_describes_itself() -> None:
    made = tagger(objective={"type": "k_best", "k": 2, "labellings": "legal"})
    assert isinstance(made, TeachesItself)
    assert made.describe_as_teacher("itself") == TeacherDescription(
        "itself", (), tuple(made.labels), "potentials", "BIO", stored=False
    )
    softmax = {"transitions": "none"}
    assert tagger(**softmax).describe_as_teacher("itself").kind == "log_probabilities"
    assert tagger(**softmax, constraints="everywhere").describe_as_teacher("itself").kind == "potentials"


def test_no_advice_to_store_what_is_never_stored(caplog: pytest.LogCaptureFixture) -> None:
    made = tagger(objective={"type": "k_best", "k": 2, "labellings": "legal"})
    with caplog.at_level(logging.INFO, logger="structkd_plugin"):
        made.check_teachers([made.describe_as_teacher("itself")])
    assert "cache-teacher" not in caplog.text


# ------------------------------------------------------------------------------------------------ whole trainings


def by_hand(model: Model, loader: DataLoader, decay: float, weight: float, rate: float) -> Tuple[Any, Any]:
    """
    Plain SGD towards the average, all labellings written out: parameters and their average after the last batch.

    Distributions are summed in float64, outside of the CRF and of everything that trains.
    """
    parameters = dict(model.named_parameters())
    average = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    for n, batch in enumerate(loader, start=1):
        student_now = {name: parameter.detach().clone() for name, parameter in parameters.items()}

        def enumerated(values: Dict[str, torch.Tensor], batch: Any = batch) -> List[Any]:
            output = torch.func.functional_call(model, values, kwargs={"tokens": batch["tokens"]})
            tables = [
                values[f"crf.{name}"].double() for name in ("transitions", "start_transitions", "end_transitions")
            ]
            return [
                enumerate_sentence(emissions.double(), *tables, mask=mask)
                for emissions, mask in zip(output["emissions"], output["mask"], strict=True)
            ]

        with torch.no_grad():
            teachers = enumerated(average)
        losses = []
        for b, (teacher, learner) in enumerate(zip(teachers, enumerated(parameters), strict=True)):
            log_q = learner.scores - learner.log_partition
            gold = tuple(batch["tags"][b, : learner.words].tolist())
            cross_entropy = -(teacher.probabilities * log_q).sum()
            losses.append(weight * cross_entropy - (1 - weight) * log_q[learner.paths.index(gold)])
        gradients = torch.autograd.grad(torch.stack(losses).mean(), list(parameters.values()), allow_unused=True)
        share = min(decay, (1 + n) / (10 + n))
        with torch.no_grad():
            for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
                if gradient is not None:
                    parameter.copy_(student_now[name] - rate * gradient)
                average[name] = share * average[name] + (1 - share) * parameter
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}, average


@pytest.mark.parametrize("decay", [0.15, 0.999], ids=["decay 0.15", "warming up"])
def test_three_steps_are_those_by_hand(data: Path, tmp_path: Path, decay: float) -> None:
    (tmp_path / "data.conll").write_text(
        "Ada B-PER\nsleeps O\n\nBoris B-PER\nsees O\nLima B-LOC\n\nwhy O\n\nRome B-LOC\nburns O\n\nO O\nAda B-PER\n\n"
    )
    settings = self_taught(data, {"decay": decay, "schedule": {"type": "constant", "value": 0.6}})
    settings.update(train_data_path=str(tmp_path / "data.conll"), validation_data_path=None)
    del settings["validation_data_path"], settings["validation_data_loader"]
    settings["data_loader"] = {"batch_size": 2, "shuffle": False}
    settings["trainer"].update(num_epochs=1, optimizer={"type": "sgd", "lr": 0.5})
    seen: List[Any] = []

    class Initial(TrainerCallback):
        def on_start(self, trainer: Any, **kwargs: Any) -> None:
            parameters = {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}
            seen.extend([trainer.model, parameters, list(trainer.data_loader)])

    TrainerCallback.register("test_initial", exist_ok=True)(Initial)
    settings["trainer"]["callbacks"].insert(0, {"type": "test_initial"})
    trained = train(settings, tmp_path / "run")
    model, initial, loader = seen
    model.load_state_dict(initial)
    parameters, average = by_hand(model.train(), loader, decay, weight=0.6, rate=0.5)
    assert len(loader) == 3
    assert difference(trained, parameters) < ROUNDING
    of_checkpoint = {n.removeprefix("module."): v for n, v in averages(tmp_path / "run").items() if n != "n_averaged"}
    assert difference(of_checkpoint, average) < ROUNDING
    assert difference(parameters, average) > 1e-3


def test_the_archive_is_as_without_it(data: Path, tmp_path: Path) -> None:
    train(self_taught(data), tmp_path / "run")
    without = config(data)
    assert (
        train(without, tmp_path / "without").keys()
        == load_archive(str(tmp_path / "run" / "model.tar.gz")).model.state_dict().keys()
    )


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training with everything random that there is."""
    output = tmp_path_factory.mktemp("whole") / "run"
    train(resumable(data), output)
    return output


def resumable(data: Path) -> Dict[str, Any]:
    settings = self_taught(data, {"decay": 0.9}, dropout=0.3)
    settings["trainer"].update(num_epochs=3, checkpointer={"save_every_num_batches": 3})
    settings["trainer"]["callbacks"] += [{"type": "structkd_random_state"}, {"type": "test_break_off"}]
    return settings


def broken_off(settings: Dict[str, Any], output: Path, moment: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(BreakOff.VARIABLE, moment)
        with pytest.raises(BreakOff.Broken):
            train(settings, output)


@pytest.mark.parametrize("moment", ["1.2", "1.5", "2.1"], ids="broken off in {}".format)
def test_recovered(data: Path, whole: Path, tmp_path: Path, moment: str) -> None:
    settings = resumable(data)
    broken_off(settings, tmp_path / "run", moment)
    recovered = train(settings, tmp_path / "run", recover=True)
    [*_, last] = sorted(whole.glob("model_state_e*_b0.th"))
    assert difference(recovered, torch.load(last)) == 0
    assert difference(averages(tmp_path / "run"), averages(whole)) == 0


@pytest.mark.parametrize(
    "resumed", [{"_start_after_epochs_completed": 1}, {"_start_after_batches_in_epoch_completed": 1}]
)
@pytest.mark.parametrize("checkpoint", [None, {}, {"average": None}], ids=str)
def test_a_checkpoint_without_an_average_is_said(
    resumed: Dict[str, int], checkpoint: Optional[Dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    own = callback()
    if checkpoint is not None:
        own.load_state_dict(checkpoint)
    own.on_start(trainer_for(tagger(), [own], **resumed))
    assert "the checkpoint has no moving average of structkd_self_teacher" in caplog.text
    caplog.clear()
    another = callback()
    another.load_state_dict(own.state_dict())
    another.on_start(trainer_for(tagger(), [another], **resumed))
    callback().on_start(trainer_for(tagger(), []))
    assert "moving average" not in caplog.text


def test_accumulated_gradients_are_one_step(data: Path, tmp_path: Path) -> None:
    """The average moves once for every step, and all batches of a step have the same teacher."""
    runs = []
    for batch_size, steps in ((4, 1), (2, 2)):
        settings = self_taught(data, {"decay": 0.9, "schedule": {"type": "constant", "value": 0.5}})
        settings["data_loader"] = {"batch_size": batch_size, "shuffle": False}
        settings["trainer"]["num_gradient_accumulation_steps"] = steps
        output = tmp_path / str(steps)
        runs.append((train(settings, output), averages(output)))
    assert difference(runs[0][0], runs[1][0]) < ROUNDING
    assert difference(runs[0][1], runs[1][1]) < ROUNDING
    # 8 steps of each of 2 epochs, and the beginning.
    assert runs[1][1]["n_averaged"] == 17


@TrainerCallback.register("test_teachers")
class Teachers(TrainerCallback):
    """Notes the shares of the teachers and the interpolation weight of every training batch."""

    seen: ClassVar[List[Any]] = []

    def on_batch(self, trainer: Any, batch_inputs: Any, *args: Any, is_training: bool, **kwargs: Any) -> None:
        if is_training:
            for batch in batch_inputs:
                teacher = batch["teacher"]
                self.seen.append(([slot.weight.tolist() for slot in teacher.teachers], float(teacher.interpolation)))


def test_with_stored_teachers_in_any_order(
    data: Path, stores: Dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = []
    for order in ("TOR", "OTR", "ORT", "RTO"):
        monkeypatch.setattr(Teachers, "seen", [])
        settings = student(data, stores)
        [stored] = settings["trainer"]["callbacks"]
        listed = {"T": stored, "O": {**OWN, "weight": 0.25}, "R": {"type": "structkd_random_state"}}
        settings["trainer"]["callbacks"] = [*(listed[letter] for letter in order), {"type": "test_teachers"}]
        outcomes.append(train(settings, tmp_path / order))
        assert [weights for weights, _ in Teachers.seen] == [[pytest.approx([0.8] * 4), pytest.approx([0.2] * 4)]] * 16
        assert [weight for _, weight in Teachers.seen] == pytest.approx([1 - step / 16 for step in range(16)])
    assert all(difference(outcome, outcomes[0]) == 0 for outcome in outcomes[1:])
    alone = student(data, stores)
    alone["trainer"]["callbacks"].append({"type": "structkd_random_state"})
    assert difference(train(alone, tmp_path / "alone"), outcomes[0]) > 1e-4


def test_it_teaches_what_no_store_has(
    data: Path, stores: Dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Teachers, "seen", [])
    settings = student(data, {"en": stores["en"]}, missing="skip")
    settings["trainer"]["callbacks"] += [OWN, {"type": "test_teachers"}]
    train(settings, tmp_path / "run")
    shares = [tuple(share) for weights, _ in Teachers.seen for share in zip(*weights, strict=True)]
    assert sorted(set(shares)) == [(0.0, 1.0), (0.5, 0.5)]
    assert len(shares) == 2 * 32
    assert shares.count((0.5, 0.5)) == 2 * 16


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_two_processes(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have the same average, that of a training in one: parameters agree, and nothing else goes into it."""

    def settings() -> Dict[str, Any]:
        made = self_taught(data, {"decay": 0.9, "schedule": {"type": "constant", "value": 0.5}})
        made["data_loader"]["shuffle"] = False
        return made

    one = train(settings(), tmp_path / "one")
    two = train(in_two_processes(settings(), tmp_path, monkeypatch), tmp_path / "two")
    assert difference(two, one) < ROUNDING
    assert difference(averages(tmp_path / "two"), averages(tmp_path / "one")) < ROUNDING
