"""The tasks of mteb that `benchmark` names, ready to be read."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from mmexp.schema import ConfigError, did_you_mean

if TYPE_CHECKING:
    from mteb.abstasks.abstask import AbsTask
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    from mmexp.benchmark.settings import Benchmark

log = logging.getLogger(__name__)


def import_mteb(folder: Path) -> ModuleType:
    """mteb, whose own cache, which nothing is put into, is below `folder` rather than in the home folder."""
    if find_spec("mteb") is None:
        raise ConfigError(
            "benchmark.name names tasks of mteb, which is not installed. Type: pip install 'mmexp[benchmark]'"
        )
    os.environ.setdefault("MTEB_CACHE", str(folder / "mteb"))
    import mteb

    logging.getLogger("mteb").setLevel(logging.WARNING)
    return mteb


def find_tasks(settings: Benchmark, folder: Path) -> list[AbsTaskRetrieval]:
    """The tasks, restricted to what `settings` says of them, their data not loaded yet.

    Raises `ConfigError` for names that mteb does not know, and for tasks that are no retrieval.
    """
    known = _named(settings.name, import_mteb(folder))
    by_name = {task.metadata.name: task for task in known}
    for name in settings.tasks:
        if name not in by_name:
            raise ConfigError(
                f"benchmark.tasks={name} is no task of {settings.name}.{did_you_mean(name, by_name)} It has: "
                f"{', '.join(by_name)}."
            )
    chosen = [by_name[name] for name in settings.tasks or by_name]
    refuse_other_tasks(chosen, settings.name)
    restricted = [task for one in chosen if (task := restrict(one, settings)) is not None]
    if not restricted:
        raise ConfigError(
            f"benchmark.languages={settings.languages} leaves nothing of {settings.name}, which has "
            f"{', '.join(languages_of(chosen))}."
        )
    return restricted


def _named(name: str, mteb: ModuleType) -> Sequence[AbsTask]:
    try:
        return mteb.get_benchmark(name).tasks
    except KeyError:
        pass
    classes = {task.metadata.name: task for task in task_classes()}
    if name not in classes:
        known = [*(benchmark.name for benchmark in mteb.get_benchmarks()), *classes]
        raise ConfigError(
            f"benchmark.name={name} is neither a benchmark nor a task of mteb {mteb.__version__}, nor a task of a "
            f"module given with --config-dir.{did_you_mean(name, known)} +benchmark=vidore_v2 is one."
        )
    return [classes[name]()]


def task_classes() -> Iterator[type[AbsTask]]:
    """Every task that has been defined: mteb's, and those of modules of one's own, which mteb has no list for."""
    from mteb.abstasks.abstask import AbsTask

    found = AbsTask.__subclasses__()
    while found:
        found += (one := found.pop()).__subclasses__()
        if hasattr(one, "metadata"):
            yield one


def refuse_other_tasks(tasks: Sequence[AbsTask], name: str) -> None:
    """Raise `ConfigError` unless all tasks are retrieval."""
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    if others := [task.metadata for task in tasks if not isinstance(task, AbsTaskRetrieval)]:
        of_retrieval = [task.metadata.name for task in tasks if isinstance(task, AbsTaskRetrieval)]
        instead = f"benchmark.tasks=[{','.join(of_retrieval)}]" if of_retrieval else "a benchmark of retrieval"
        raise ConfigError(
            f"benchmark.name={name} has {others[0].name}, which is {others[0].type}, and NDCG@10 measures retrieval. "
            f"Use {instead}."
        )


def restrict(task: AbsTask, settings: Benchmark) -> AbsTaskRetrieval | None:
    """A copy of the task with the languages and splits that are asked for. None: it has none of the languages."""
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    restricted = copy.deepcopy(task)
    assert isinstance(restricted, AbsTaskRetrieval)
    if settings.splits:
        for split in settings.splits:
            if split not in task.metadata.eval_splits:
                raise ConfigError(
                    f"benchmark.splits={split} is no split of {task.metadata.name}, which has "
                    f"{', '.join(task.metadata.eval_splits)}."
                )
        restricted.filter_eval_splits(settings.splits)
    if settings.languages:
        try:
            restricted.filter_languages(settings.languages, hf_subsets=task.hf_subsets)
        except ValueError as error:
            log.warning("%s is left out: %s", task.metadata.name, error)
            return None
    return restricted


def languages_of(tasks: Sequence[AbsTask]) -> list[str]:
    """The languages of the tasks, each once."""
    return sorted({language for task in tasks for language in task.metadata.languages})


def load(task: AbsTaskRetrieval) -> None:
    """Read the task's queries, documents and relevances. Raises `ConfigError` where they cannot be reached."""
    name, source = task.metadata.name, task.metadata.dataset
    try:
        task.load_data()
    except (OSError, ValueError, KeyError) as error:  # datasets' own errors derive from these
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise ConfigError(
            f"the data of {name} ({source.get('path')}, revision {source.get('revision')}) cannot be opened: {reason}. "
            "Log in to the Hub where it is private, or leave the task out with benchmark.tasks=[...]."
        ) from error
    task.convert_v1_dataset_format_to_v2(num_proc=None)
