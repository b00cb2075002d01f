"""The options of `softgate train`: a dataclass from which the command line is made."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from softgate_ext.ranges import check_ranges
from softgate_ext.runs.options import STRICT, Amp, Device, Positional, require

ModelOption = int | float | bool | str


Schedule = Literal["cosine", "step", "paper"]
RATES = {"adamw": 4e-3, "rmsprop": 2.5e-4}
"""The learning rate of an optimizer where none is given."""


@dataclass
class TrainConfig:
    """Train a pose network on LSP, MPII, FLIC or key points in COCO's or YOLO's form.

    `torchrun --nproc-per-node N -m softgate_ext.cli train ...` trains with N processes.
    """

    __pydantic_config__ = STRICT

    data: Positional[Path]
    """Dataset as it was unpacked (`softgate data check` says what it is). Its test part is watched:
    evaluated during the training, and not trained on."""
    out: Path
    """Folder of the run: configuration, weights, training state, log and plots."""
    train_folder: Path | None = None
    """Folder or annotation file, in `data` or elsewhere, to train on in place of the train part."""
    test_folder: Path | None = None
    """Folder or annotation file, in `data` or elsewhere, to watch in place of the test part."""
    extra: tuple[Path, ...] = ()
    """More datasets to train on. Joints with the same name are the same joint."""
    allow_outside: bool = False
    """Let annotation files name pictures outside of their dataset."""
    cache: Path | None = None
    """Folder for prepared crops, which are made once and load faster than the pictures."""
    resume: bool = False
    """Continue the run in `out`, on the same samples. Its stored configuration is the default for every
    other option."""
    model: str = "hybrid_2x48"
    """Name of the network (`softgate info` lists them)."""
    model_options: dict[str, ModelOption] = field(default_factory=dict)
    """Options of the network as pairs of name and value, such as `gate block alpha_init 1.0`."""
    init: Path | None = None
    """Start from these weights: a run's folder, its name or that of shipped weights, or a .safetensors
    file; tensors of another name or shape (such as the heatmaps of other joints) are initialised
    anew."""
    image_size: int = 256
    """Side of the square crop in pixels; the heatmaps are a quarter of it."""
    sigma: float = 1.0
    """Standard deviation of the Gaussian targets, in heatmap pixels."""

    epochs: int | None = None
    """Passes over the training samples, including those before a resume. When neither `epochs` nor
    `minutes` is given it is 100, or 200 with the schedule `paper`."""
    minutes: float | None = None
    """Wall time of the training in minutes. The schedule of the learning rate ends with this time."""
    batch_size: int = 16
    """Samples in a step, over all processes. No sample is left out, so some steps have one fewer."""
    accumulate: int = 1
    """Forward passes that a step is divided into, to save memory."""
    optimizer: Literal["rmsprop", "adamw"] = "adamw"
    """Rule that turns gradients into steps."""
    lr: float = None  # type: ignore[assignment]  # __post_init__ gives it
    """Learning rate after the warm-up (default: 0.004 of AdamW; 0.00025, the paper's, of RMSprop)."""
    schedule: Schedule = "cosine"
    """`cosine` falls to 0; `step` divides by 10 at 60 % and again at 85 % of the training; `paper`
    falls to 4 % by three equal factors, at epochs 75, 100 and 150 of 200 (its batch was 24)."""
    warmup: float = 0.02
    """Share of the training in which the learning rate rises linearly from 0."""
    weight_decay: float = 0.0
    """Weight decay of convolutions (gates, biases and normalisation have none)."""
    clip: float | None = None
    """Largest norm of the gradient; larger gradients are scaled down to it (default: no limit)."""
    ema: float = 0.0
    """Decay of the moving average of the weights. The average is then evaluated and stored (0: off)."""
    sync_bn: bool = False
    """Normalise over the batch of all processes together, not over the batch of each process."""

    scale: float = 0.25
    """Crops are scaled by up to this share, in both directions."""
    rotation: float = 30.0
    """Crops are rotated by up to this many degrees, in both directions."""
    flip: float = 0.5
    """Probability of mirroring a crop (left and right joints change places)."""
    swap: tuple[str, ...] = ()
    """Joints that change places in a mirror image where their names do not show it, one pair after
    another, such as `eye1 eye2 paw1 paw2`; a joint beside itself keeps its place."""
    colour: float = 0.2
    """Strength of the random changes of brightness, contrast and colour channels."""

    holdout: int = 0
    """Number of samples at the end of the train part to watch instead of the test part (0: none)."""
    evaluate_every: int = 1
    """Epochs between two evaluations on the watched samples; the last epoch is always evaluated."""
    watch: int = 0
    """Watch only this many samples, evenly spread (0: all)."""

    metric: str = "auto"
    """Metric of the watched samples, as in `softgate evaluate`: `auto`, `torso`, `box`, `oks`, or two
    joints with a comma between them. The `best` weights are those of its highest value."""
    oks_sigmas: tuple[float, ...] = ()
    """For `oks`: one number for each joint, in the data's order (default: COCO's, by the joints'
    names)."""

    seed: int = 0
    """Seed of the initial weights, the order of the samples and the augmentation."""
    workers: int = 1
    """Processes that read and crop images (0: the training process does it)."""
    device: Device = "auto"
    """`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`."""
    amp: Amp = "auto"
    """`bf16` autocast of convolutions; `auto` uses it where the device has native
    bf16 arithmetic."""
    channels_last: bool = False
    """Keep activations in the layout channels_last."""
    conv: Literal["winograd", "direct"] = "winograd"
    """How a CPU computes the 3x3 convolutions, forward and backward: `winograd` needs a quarter of the
    multiplications, in the layout channels_last, and in bf16 where that is faster; `direct` is PyTorch's."""
    compile: bool = False
    """Compile the network with `torch.compile`; this takes a while, and pays in trainings that take longer
    than some minutes."""
    threads: int | None = None
    """CPU threads for the network (default: PyTorch's choice)."""
    tensorboard: bool = False
    """Also log for TensorBoard, into `out`/tensorboard (needs the extra `tensorboard`)."""
    plots: bool = True
    """Draw `out`/plots.png at the end (the default)."""

    def __post_init__(self) -> None:
        if self.lr is None:
            self.lr = RATES.get(self.optimizer, 0.0)  # an unknown one is refused by its own name

    def check(self) -> None:
        """Checks all values. Raises InputError for one that is out of its range."""
        check_ranges(self)
        require(self, "sigma", self.sigma <= self.image_size / 4, "up to the side of the heatmaps")
        own = "options of the network; its joints are those of the data"
        require(self, "model_options", "joints" not in self.model_options, own)
