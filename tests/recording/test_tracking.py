"""The tracking config: what is refused before anything starts, and what it costs to ask."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mmexp.schema import ConfigError
from mmexp.tracking import Tracking


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (None, r"tracking\.grid is not set.*tracking\.grid=ESP.*conf/local/default\.yaml.*tracking=none"),
        ("Spain", r"tracking\.grid=Spain is no grid\. Did you mean 'ESP'\?"),
        ("esp", r"Did you mean 'ESP'\?"),
        ("XYZ", "ISO-3166"),
        ("-5", "intensity in g CO2e per kWh"),
        ("nan", "intensity in g CO2e per kWh"),
        ("inf", "intensity in g CO2e per kWh"),
    ],
)
def test_a_grid_that_is_missing_or_unknown_is_refused_at_once(grid, message):
    with pytest.raises(ConfigError, match=message):
        Tracking(grid=grid).check()


@pytest.mark.parametrize("grid", ["ESP", "USA", "174", "0", "36.5"])
def test_countries_and_intensities_are_grids(grid):
    Tracking(grid=grid).check()


def test_a_machine_that_only_submits_needs_no_codecarbon(monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    Tracking(grid="ESP").check()


def test_no_grid_is_needed_where_no_energy_is_measured():
    Tracking(codecarbon=False).check()


def test_the_countries_are_those_of_codecarbon():
    from codecarbon.input import DataSource

    for code in DataSource().get_global_energy_mix_data():
        Tracking(grid=code).check()


def test_yaml_may_give_the_intensity_as_a_number():
    from omegaconf import OmegaConf

    config = OmegaConf.merge(OmegaConf.structured(Tracking), OmegaConf.create("grid: 475"))
    assert OmegaConf.to_object(config).carbon_intensity == 475.0


def test_checking_a_grid_imports_neither_codecarbon_nor_trackio_nor_torch():
    code = (
        "import sys; from mmexp.tracking import Tracking; Tracking(grid='ESP').check();"
        "sys.exit(bool({'codecarbon', 'trackio', 'torch', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
