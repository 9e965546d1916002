"""A training run: what an epoch sees, the step that learns, and the checkpoint that a later process goes on from."""

# torch is not installed where the service is type-checked, so its classes and decorators have no types there.
# mypy: disable-error-code="misc, untyped-decorator"

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from services.image_classifier.training.augment import Pool, example
from services.image_classifier.training.network import Network, trained
from services.image_classifier.training.photos import Pixels
from services.image_classifier.training.recipe import Recipe
from services.image_classifier.training.unfolding import unfolded


class Batches(Dataset[tuple[Tensor, Tensor]]):
    """The batches of one epoch; each depends on the seed, the epoch and its number alone, whoever makes it."""

    def __init__(self, pool: Pool, recipe: Recipe, epoch: int) -> None:
        self.pool, self.recipe, self.epoch = pool, recipe, epoch
        self.order = np.random.default_rng([recipe.seed, epoch]).permutation(pool.chosen)

    def __len__(self) -> int:
        return len(self.order) // self.recipe.batch

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        recipe = self.recipe
        random = np.random.default_rng([recipe.seed, self.epoch, number])
        size, strength = recipe.size(self.epoch), recipe.strength(self.epoch)
        pixels = np.empty((recipe.batch, size, size, 3), dtype=np.uint8)
        truths = np.empty((recipe.batch, 2), dtype=np.float32)
        for row, index in enumerate(self.order[number * recipe.batch : (number + 1) * recipe.batch]):
            pixels[row], truths[row] = example(
                random, self.pool, int(index), size, strength, recipe.cutmix, recipe.pasted
            )
        # NHWC memory seen as NCHW is what torch calls channels_last: the fastest here, and no copy.
        return torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(truths)


class Run:
    """A training run: the network, its moving average (which is what gets exported), the optimiser, the epochs done."""

    def __init__(self, recipe: Recipe, steps_an_epoch: int, teacher: tuple[Network, Recipe] | None = None) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.teacher = recipe, teacher
        self.network = Network(recipe.network).to(memory_format=torch.channels_last)
        self.average = Network(recipe.network).to(memory_format=torch.channels_last)
        self.average.load_state_dict(self.network.state_dict())
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=recipe.rate, foreach=True)
        steps = max(1, recipe.epochs * steps_an_epoch)
        warm = max(1, int(steps * recipe.warm_up))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser,
            lambda step: min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))) + 1e-3),
        )
        self.epoch = 0
        self.step = 0

    def learn(self, images: Tensor, truths: Tensor) -> float:
        """Take one step; gives the loss."""
        self.network.train()
        loss = nn.functional.binary_cross_entropy_with_logits(self.network(images), self.targets(images, truths))
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        self.optimiser.step()
        self.schedule.step()
        self.step += 1
        self._follow()
        return float(loss.detach())

    @torch.no_grad()
    def targets(self, images: Tensor, truths: Tensor) -> Tensor:
        """Give what the outputs should be: the smoothed truth, mixed with the teacher's probabilities if there is one.

        Cross-entropy to a mixture is the mixture of the cross-entropies (Hinton et al. 2015, at temperature 1).
        """
        smoothed = truths * (1 - self.recipe.smoothing) + self.recipe.smoothing / 2
        if self.teacher is None:
            return smoothed
        network, its_recipe = self.teacher
        least = its_recipe.sizes[-1][0]  # a network knows less of smaller pictures than it learnt from last
        if images.shape[-1] < least:
            images = nn.functional.interpolate(images.float(), size=(least, least), mode="bilinear")
        share = self.recipe.teacher_share
        return (1 - share) * smoothed + share * torch.sigmoid(network(images))

    @torch.no_grad()
    def _follow(self) -> None:
        keep = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        for mine, new in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(new, 1 - keep)
            else:
                mine.copy_(new)

    def save(self, path: Path) -> None:
        """Write the checkpoint; a run that dies while writing leaves the previous one."""
        state = {
            "recipe": self.recipe.described(),
            "epoch": self.epoch,
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def begin_with(self, source: Path, pixels: Pixels) -> None:
        """Take the weights of another run's checkpoint (its moving average), or of a model version's folder.

        `pixels`, uint8 (n, size, size, 3), are what the weights of a model version are unfolded with.
        """
        network = unfolded(source, self.recipe.network, pixels) if source.is_dir() else trained(source)[0]
        weights = network.state_dict()
        self.network.load_state_dict(weights)
        self.average.load_state_dict(weights)

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint. Raises ValueError if it was made under another recipe."""
        state = torch.load(path, weights_only=True)
        if Recipe.of(state["recipe"]) != self.recipe:
            raise ValueError(f"{path} is of a run with another recipe; give another OUT, or the recipe of that run")
        self.epoch, self.step = state["epoch"], state["step"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
