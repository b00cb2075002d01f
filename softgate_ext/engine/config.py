"""What a command is told: dataclasses that are the command line and the JSON kept with a run."""

import dataclasses
import math
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from tyro.conf import Positional, arg
from tyro.constructors import PrimitiveConstructorSpec

from softgate_ext.errors import InputError

Device = str
STDOUT = Path("-")
Amp = Literal["auto", "off", "bf16"]
MOST_THREADS = 1024  # PyTorch takes a 32-bit number, and starts as many as it is told
ModelOption = int | float | bool | str
T = TypeVar("T")


@dataclass
class TrainConfig:
    """Train a pose network on LSP, MPII, FLIC or key points in COCO's form."""

    data: Positional[Path]
    """Dataset as it unpacks (`softgate data check` says what it is); its test part is watched."""
    out: Path
    """Folder of the run: configuration, weights, training state and log."""
    extra: tuple[Path, ...] = ()
    """More datasets to train on; joints are the same where their names are."""
    cache: Path | None = None
    """Folder for crops that are made once and then load quicker than the pictures."""
    resume: bool = False
    """Continue the run in `out`; its stored configuration is the default for every other option."""

    model: str = "hybrid_2x48"
    """Name of the network (`softgate info` lists them)."""
    model_options: dict[str, ModelOption] = field(default_factory=dict)
    """Options of the network as pairs, such as `gate block alpha_init 1.0`."""
    image_size: int = 256
    """Side of the square crop in pixels; the heatmaps are a quarter of it."""
    sigma: float = 1.0
    """Standard deviation of the Gaussian targets, in heatmap pixels."""

    epochs: int | None = None
    """Passes over the training half (100 when neither `epochs` nor `minutes` is given)."""
    minutes: float | None = None
    """Budget of wall time; the learning rate is annealed to reach its end with the budget."""
    batch_size: int = 16
    """People in a step."""
    optimizer: Literal["rmsprop", "adamw"] = "rmsprop"
    """Rule that turns gradients into steps."""
    lr: float = 2.5e-4
    """Learning rate after the warm-up."""
    schedule: Literal["cosine", "step"] = "cosine"
    """`cosine` falls to 0; `step` divides by 10 at 60 % and again at 85 % of the training."""
    warmup: float = 0.02
    """Share of the training in which the learning rate rises linearly from 0."""
    weight_decay: float = 0.0
    """Weight decay of convolutions (gates, biases and normalisation are left alone)."""
    clip: float | None = None
    """Largest norm of the gradient; larger ones are scaled down to it."""
    ema: float = 0.0
    """Decay of the moving average of the weights, which is then evaluated and kept (0: off)."""

    scale: float = 0.25
    """Crops are scaled by up to this share, in both directions."""
    rotation: float = 30.0
    """Crops are rotated by up to this many degrees, in both directions."""
    flip: float = 0.5
    """Probability of mirroring a crop (left and right joints change places)."""
    colour: float = 0.2
    """Strength of the brightness, contrast and channel gains."""

    holdout: int = 0
    """People at the end of the training half to watch in place of the last half (0: none)."""
    evaluate_every: int = 1
    """Epochs between two evaluations of the watched people; the last epoch is always evaluated."""
    watch: int = 0
    """Watch only this many people, evenly spread (0: all)."""

    seed: int = 0
    """Seed of the initial weights, the order of the people and the augmentation."""
    workers: int = 1
    """Processes that read and crop images (0: none beside the training itself)."""
    device: Device = "auto"
    """`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`."""
    amp: Amp = "auto"
    """`bf16` autocast of convolutions; `auto` uses it where the device multiplies it natively."""
    channels_last: bool = False
    """Keep activations with channels innermost."""
    threads: int | None = None
    """Threads of the CPU for the network (default: PyTorch's choice)."""

    def check(self) -> None:
        """Raises InputError for a value out of its range."""
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, float):
                _require(self, item.name, math.isfinite(value), "a finite number")
        # The heatmaps are a quarter of the crop, and a peak is refined by its neighbours.
        _require(self, "image_size", 12 <= self.image_size <= 8192, "12 to 8192 pixels")
        for name in ("batch_size", "evaluate_every"):
            _require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("lr", "sigma"):
            _require(self, name, getattr(self, name) > 0, "more than 0")
        for name in ("holdout", "watch", "workers", "weight_decay", "rotation", "colour", "seed"):
            _require(self, name, getattr(self, name) >= 0, "0 or more")
        for name in ("epochs", "minutes", "clip", "threads"):
            value = getattr(self, name)
            _require(self, name, value is None or value > 0, "more than 0")
        _require(self, "seed", self.seed < 2**63, "less than 2**63")
        _require(self, "threads", (self.threads or 1) <= MOST_THREADS, f"up to {MOST_THREADS}")
        for name in ("warmup", "ema", "scale"):
            _require(self, name, 0 <= getattr(self, name) < 1, "from 0 to below 1")
        own = "options of the network; its joints are those of the data"
        _require(self, "model_options", "joints" not in self.model_options, own)
        _require(self, "flip", 0 <= self.flip <= 1, "a probability from 0 to 1")


def _file_or_stdout(words: list[str]) -> Path:
    if len(words) > 1:
        raise ValueError("takes at most one file; give it after the other arguments")
    return Path(words[0]) if words else STDOUT


JsonTarget = Annotated[
    Path | None,
    PrimitiveConstructorSpec(
        nargs="*",
        metavar="[FILE]",
        instance_from_str=_file_or_stdout,
        is_instance=lambda value: value is None or isinstance(value, Path),
        str_from_instance=lambda value: [] if value is None else [str(value)],
    ),
]
"""`--json` alone is STDOUT."""


@dataclass
class EvalConfig:
    """Measure a run, or joints that others predicted, by the metric that belongs to the data.

    `evaluate RUN DATA` measures a run, `evaluate DATA --predictions FILE` joints in a file,
    `evaluate --reference FILE` published predictions that lie beside their ground truth.
    """

    run: Positional[Annotated[Path | None, arg(metavar="[RUN]")]] = None
    """Folder that `softgate train` wrote."""
    data: Positional[Annotated[Path | None, arg(metavar="[DATA]")]] = None
    """Folder of a dataset as it was released (LSP: joints.mat and images/)."""
    reference: Path | None = None
    """.npz with ground truth and arrays pred_NAME; each of these is scored."""
    predictions: Path | None = None
    """Joints to measure in place of a run's, in the order of the data: .npz, .mat, .h5, .json."""
    origin: Literal[0, 1] | None = None
    """Coordinate of the first pixel in `predictions` (default: 1 in .mat and .h5, else 0)."""
    split: Literal["test", "train", "all"] = "test"
    """Part of the data that is measured."""
    weights: Literal["last", "best"] = "last"
    """`last` weights of the run, or those that were `best` on the people it watched: without
    `--holdout` the test half itself, so that its figures then flatter the network."""
    flip_test: bool = False
    """Average the heatmaps of the image and of its mirror image."""
    scales: tuple[float, ...] = (1.0,)
    """Sizes of the crop to average the heatmaps of, such as 1 0.8 1.25 (1: that of the training)."""
    decoder: Literal["argmax", "quarter", "dark", "softargmax"] = "dark"
    """How joints are read from heatmaps."""
    batch_size: int = 32
    """People in a forward pass."""
    workers: int = 1
    """Processes that read and crop images (0: none beside the network's own)."""
    device: Device = "auto"
    """`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`."""
    amp: Amp = "off"
    """`bf16` autocast of convolutions; `auto` uses it where the device multiplies it natively."""
    json: JsonTarget = None
    """Print JSON in place of the table; with a name, write it to that file beside the table."""
    save_predictions: Path | None = None
    """Also write the joints to this file: .npz, .mat, .h5 or .json."""
    submission: Path | None = None
    """Measure nothing, and write the joints of MPII's test people as the benchmark takes them."""


@dataclass
class ExportConfig:
    """Write a run's network as one file for another runtime, with any batch size."""

    run: Positional[Path]
    """Folder that `softgate train` wrote."""
    out: Path
    """File to write."""
    format: Literal["onnx", "torch", "aoti"] = "onnx"
    """`onnx`, `torch` (a torch.export program) or `aoti` (compiled for this machine's CPU)."""
    decode: Literal["none", "argmax", "quarter", "dark", "softargmax"] = "none"
    """`none` gives heatmaps; the others joints in crop pixels and their scores."""
    weights: Literal["last", "best"] = "last"
    """`last` weights of the run, or those that were `best` on the people it watched."""


@dataclass
class SynthConfig:
    """Draw people in LSP's format: joints.mat and images/, the first half to train."""

    folder: Positional[Path]
    """Folder to write; it must not exist yet or be empty."""
    count: int = 1000
    """People to draw."""
    seed: int = 0
    """Seed of everything drawn; the same seed gives the same files."""


@dataclass
class ProfileConfig:
    """Count parameters and multiply-accumulates of networks, beside the hourglass baseline."""

    models: Positional[tuple[str, ...]] = ()
    """Networks to show by their parts (default: a table of all networks)."""
    image_size: int = 256
    """Side of the square input in pixels."""


@dataclass
class InfoConfig:
    """Say what was built, what `auto` picks, and which networks there are."""

    json: bool = False
    """Print JSON in place of lines."""


@dataclass
class DemoConfig:
    """Train a small network for two minutes and show what it has learned."""

    out: Path = Path("runs/demo")
    """Folder of the run, the drawn people and the pictures."""
    data: Path | None = None
    """Folder in LSP's format (default: people drawn into `out`/people)."""
    minutes: float = 2.0
    """Budget of wall time for the training."""
    fresh: bool = False
    """Train anew though `out` holds a finished demo (which is otherwise only shown again)."""


@dataclass
class RunConfig:
    """What a run's folder says of its weights: enough to rebuild, feed and decode the network.

    Attributes:
        model: name and keyword arguments for `create_model`.
        skeleton: whose joints the heatmaps stand for: its name, or all of it where a dataset has
            joints of its own.
        image_size: side of the square crop, pixels.
        sigma: standard deviation of the Gaussian targets, heatmap pixels.
        box_margin: side of a crop over the longer side of the box around the person's joints,
            the median of the training people; crops around boxes are made to match.
        training: the command that trained it.
    """

    model: dict[str, Any]
    skeleton: str | dict[str, Any]
    image_size: int
    sigma: float
    box_margin: float
    training: TrainConfig


def to_json(config: Any) -> dict[str, Any]:
    """A dataclass as a dictionary that `json` can write; paths become strings."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value

    result = plain(dataclasses.asdict(config))
    assert isinstance(result, dict)
    return result


def from_json(kind: type[T], stored: Any, source: str) -> T:
    """The dataclass `kind` from what `to_json` made of it; absent fields take their defaults.

    Args:
        kind: a dataclass.
        stored: the dictionary.
        source: where it was read, for the message.

    Raises:
        InputError: a field is unknown, missing without a default, or of another type.
    """
    if not isinstance(stored, dict):
        raise InputError(f"{source}: expected a JSON object, got {type(stored).__name__}")
    hints = typing.get_type_hints(kind)
    known = [item.name for item in dataclasses.fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(stored) - set(known))
    if unknown:
        raise InputError(f"{source}: unknown entry {unknown[0]!r}; known are {', '.join(known)}")
    try:
        return kind(**{k: _restore(hints[k], v, f"{source}: {k}") for k, v in stored.items()})
    except TypeError as error:
        raise InputError(f"{source}: an entry is missing ({error})") from error


def _restore(hint: Any, value: Any, source: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _restore(arguments[0], value, source)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        choices = [item for item in arguments if item is not type(None)]
        return _restore(choices[0], value, source) if len(choices) == 1 else value
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value, source)  # type: ignore[arg-type]
    if hint is Path and isinstance(value, str):
        return Path(value)
    if origin is tuple and isinstance(value, list):
        same = len(arguments) == 2 and arguments[1] is Ellipsis
        return tuple(_restore(arguments[0], item, source) if same else item for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is Literal:
        if value in arguments:
            return value
    elif origin is dict:
        if isinstance(value, dict):
            return value
    elif hint is Any or (isinstance(hint, type) and isinstance(value, hint)):
        return value
    raise InputError(f"{source}: expected {_words(hint)}, got {value!r}")


def _words(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    return getattr(hint, "__name__", str(hint))


def _require(config: Any, name: str, holds: bool, takes: str) -> None:
    if not holds:
        raise InputError(f"{name}: got {getattr(config, name)}; takes {takes}")
