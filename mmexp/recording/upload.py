"""What leaves this machine at the end of a run, where it is asked for. A failure is a warning: the run is complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmexp.trackio_view import push_project
from mmexp.training.save import push_model

if TYPE_CHECKING:
    from mmexp.composition import Composition


def upload(composition: Composition) -> None:
    """Copy the model and the dashboard of a run that has ended. By rank 0, with no other waiting for it in vain."""
    folder = composition.run_dir / "model"
    if folder.exists():
        push_model(folder, composition.experiment.hub)
    push_project(composition.experiment.tracking)
