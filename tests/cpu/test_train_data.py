"""A field that the data lacks is found before the first step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from splatdsl.dsl.diagnostics import LossError
from splatdsl.runtime.data.base import SplatDataProvider
from splatdsl.runtime.data.synthetic import SyntheticDataProvider
from splatdsl.runtime.loading import compile
from splatdsl.runtime.modules import SplatBaseModule
from splatdsl.runtime.payload import SplatRenderPayload
from splatdsl.runtime.training.config import SplatTrainerConfig
from splatdsl.runtime.training.trainer import SplatTrainer

SCENE: dict[str, Any] = {"width": 32, "height": 24, "views": 5, "test_every": 4, "points": 100}


def train(text: str, data: SplatDataProvider, *modules: Any) -> Any:
    config = SplatTrainerConfig(max_steps=6, sh_degree=0, tensorboard=False, images=False, strategy="none")
    loss = compile(text, backend="eager")
    return SplatTrainer(config=config, loss_fn=loss, data_provider=data, modules=modules).run()


READS_MASK = "term a = l1()\nterm b = mean(alpha * mask) when after(step, 3)\n"


class NoStep(SplatBaseModule[SplatRenderPayload]):
    def pre_step(self):
        raise AssertionError("a step was made")


def test_a_mask_that_the_data_lacks_stops_the_run_before_its_first_step() -> None:
    with pytest.raises(LossError) as caught:
        train(READS_MASK, SyntheticDataProvider(**SCENE, masks=False), NoStep())
    assert [d.code for d in caught.value.diagnostics] == ["BUF002"]
    (found,) = caught.value.diagnostics
    assert found.message == "the loss reads `mask`, but none of the 3 training views has one"
    assert (found.line, found.column) == (2, READS_MASK.splitlines()[1].index("mask") + 1)
    assert "`masked` also works" in found.help[0]
    assert train(READS_MASK, SyntheticDataProvider(**SCENE)).finished
    assert train("term a = l1(masked)", SyntheticDataProvider(**SCENE, masks=False)).finished


class SomeMasks(SyntheticDataProvider):
    """Some views have no mask."""

    bare: tuple[int, ...] = ()

    @property
    def fields(self):
        return super().fields - {"mask"}

    @property
    def fields_some(self):
        return super().fields_some | {"mask"}

    def _item(self, index):
        item = super()._item(index)
        return replace(item, mask=None) if index in self.bare else item


def test_views_without_a_mask_are_named() -> None:
    data = SomeMasks(**SCENE)
    data.bare = (0, 2)  # views 0 and 4 are held out
    with pytest.raises(LossError) as caught:
        train(READS_MASK, data, NoStep())
    assert caught.value.diagnostics[0].message == "the loss reads `mask`, but 1 of the 3 training views have none"
    assert caught.value.diagnostics[0].notes == (f"without a mask: {data.view(2).image_name}",)


def test_held_out_views_need_no_mask() -> None:
    data = SomeMasks(**SCENE)
    data.bare = (0,)
    assert train(READS_MASK, data).finished


def test_a_provider_that_does_not_say_what_it_has_is_trusted() -> None:
    class Silent(SyntheticDataProvider):
        fields = SplatDataProvider.fields
        fields_some = SplatDataProvider.fields_some

    data = Silent(**SCENE)
    assert "mask" not in data.fields
    assert train(READS_MASK, data).finished
