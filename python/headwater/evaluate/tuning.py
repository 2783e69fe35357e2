"""`headwater tune`: look for a better configuration, on data that no test part is made of.

A *space* is a configuration file with a table `[tune]`: which metric counts, and for each key the values to try. The
search is optuna's TPE (Bergstra et al., NeurIPS 2011); the study lies in an SQLite file, so that the same command goes
on where it was interrupted. What it sees is the `valid` part or the last 10 % of training sessions (`--format
sessions`), a tenth of the training rows (`--format split`), or a prefix of the log (`--format events`): the rest stays
unseen until `headwater evaluate` is run on it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from headwater.config import config_from_table, load_table
from headwater.errors import ConfigError, HeadwaterError, InvalidInput
from headwater.evaluate.configured import Configured, options_from
from headwater.progress import Call
from headwater.scenario import Strict

if TYPE_CHECKING:
    import optuna

Metric = Literal["hr", "mrr", "ndcg"]
Measure = Callable[[Configured], float]


class Choice(Strict, frozen=True, kw_only=True):
    """The values of one key: a range, or a list."""

    low: float | None = None
    high: float | None = None
    integer: bool = False
    log: bool = False
    choices: list[bool | int | float | str] | None = None


class Space(NamedTuple):
    """What is tried, on top of what."""

    base: dict[str, Any]
    metric: Metric
    keys: dict[str, Choice]

    @property
    def fingerprint(self) -> str:
        """Identity of the space: a study of another one is not gone on with."""
        plain = [self.base, self.metric, msgspec.to_builtins(self.keys)]
        return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def configured(self, values: dict[str, Any]) -> Configured:
        """The base with these values. Raises `ConfigError`."""
        table = self.table(values)
        options = options_from(table.pop("evaluate", {}), "the space")
        return Configured("tuned", config_from_table(table, where="the space"), options)

    def table(self, values: dict[str, Any]) -> dict[str, Any]:
        """The same as tables."""
        table: dict[str, Any] = json.loads(json.dumps(self.base))
        for key, value in values.items():
            *path, last = key.split(".")
            at = table
            for part in path:
                at = at.setdefault(part, {})
            at[last] = value
        return table


class Found(msgspec.Struct, frozen=True):
    """The best of a study."""

    metric: str
    value: float
    base: float
    """The same measure of the space's own values."""
    trials: int
    values: dict[str, Any]
    history: list[float]
    """Best value after each trial."""


def load_space(path: Path) -> Space:
    """Read a space. Raises `ConfigError`."""
    table = load_table(path)
    tune = table.pop("tune", None)
    if not isinstance(tune, dict) or not isinstance(tune.get("space"), dict) or not tune["space"]:
        raise ConfigError(f"{path}: no [tune.space]; allowed: keys and their values", key="tune.space", value=tune)
    metric = tune.get("metric", "mrr")
    if metric not in ("hr", "mrr", "ndcg") or set(tune) - {"metric", "space"}:
        raise ConfigError(
            f"{path}: tune has metric (hr, mrr, ndcg) and space, not {tune!r:.80}", key="tune", value=metric
        )
    keys = {}
    for key, value in tune["space"].items():
        try:
            choice = msgspec.convert(value, Choice)
        except msgspec.ValidationError as err:
            raise ConfigError(f"{path}: tune.space.{key}: {err}", key=f"tune.space.{key}", value=value) from err
        ranged = choice.low is not None and choice.high is not None and choice.low < choice.high
        if ranged == (choice.choices is not None) or choice.choices == []:
            raise ConfigError(
                f"{path}: tune.space.{key} = {value!r:.80}; allowed: low and high, or choices",
                key=f"tune.space.{key}",
                value=value,
            )
        keys[key] = choice
    space = Space(table, metric, keys)
    # Every key must be one: a misspelt one would be searched in vain.
    space.configured({key: c.choices[0] if c.choices else _number(c, c.low) for key, c in keys.items()})
    return space


def _number(choice: Choice, value: float | None) -> float | int | None:
    return int(value) if choice.integer and value is not None else value


def search(space: Space, measure: Measure, asked: str, trials: int, storage: Path, seed: int, progress: Call) -> Found:
    """Run a study until it has `trials` trials. `asked` says what is measured: a study of something else is refused.

    Raises `InvalidInput` for a study of another space, `HeadwaterError` without optuna.
    """
    try:
        import optuna
    except ImportError as err:
        raise HeadwaterError("tuning needs optuna: pip install 'headwater[tune]'") from err
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    store = optuna.storages.RDBStorage(f"sqlite:///{storage}")
    try:
        study = optuna.create_study(storage=store, study_name="headwater", direction="maximize", load_if_exists=True)
        _check_same(study, f"{space.fingerprint} {asked}", storage)
        return _searched(study, space, measure, trials, seed, progress)
    finally:
        store.remove_session()
        store.engine.dispose()  # or its connections are left to the garbage collector, which says so


def _check_same(study: optuna.Study, identity: str, storage: Path) -> None:
    if study.user_attrs.get("identity", identity) != identity:
        raise InvalidInput(
            f"{storage} holds a study of something else; remove it or name another file",
            field="study",
            value=str(storage),
        )
    study.set_user_attr("identity", identity)


def _searched(study: optuna.Study, space: Space, measure: Measure, trials: int, seed: int, progress: Call) -> Found:
    import optuna

    if "base" not in study.user_attrs:
        study.set_user_attr("base", measure(space.configured({})))

    def objective(trial: optuna.Trial) -> float:
        return measure(space.configured({key: _suggest(trial, key, choice) for key, choice in space.keys.items()}))

    def finished() -> list[optuna.trial.FrozenTrial]:
        return study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))

    done = len(finished())
    # A study that goes on must not draw what it drew before.
    study.sampler = optuna.samplers.TPESampler(seed=seed + done)
    progress(done, trials)
    while done < trials:
        study.optimize(objective, n_trials=1)
        done += 1
        progress(done, trials)
    best: list[float] = []
    for value in (trial.value or 0.0 for trial in finished()):
        best.append(max([value, *best[-1:]]))
    return Found(space.metric, study.best_value, study.user_attrs["base"], done, dict(study.best_params), best)


def _suggest(trial: Any, key: str, choice: Choice) -> Any:
    if choice.choices is not None:
        return trial.suggest_categorical(key, choice.choices)
    if choice.integer:
        return trial.suggest_int(key, int(choice.low or 0), int(choice.high or 0), log=choice.log)
    return trial.suggest_float(key, choice.low, choice.high, log=choice.log)


def as_toml(table: dict[str, Any], comment: str) -> str:
    """Tables as TOML, one dotted key a line."""
    lines = [f"# {line}" for line in comment.splitlines()]

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict) and value and prefix.count(".") < 1:
            for key, inner in value.items():
                walk(f"{prefix}.{_key(key)}" if prefix else _key(key), inner)
        else:
            lines.append(f"{prefix} = {_value(value)}")

    walk("", table)
    return "\n".join(lines) + "\n"


def _key(key: str) -> str:
    return key if key and all(c.isascii() and (c.isalnum() or c in "_-") for c in key) else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }" if value else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return json.dumps(value) if isinstance(value, str) else repr(value)
