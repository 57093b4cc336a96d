"""The commands on whole folders: `predict`, and `retry`, `merge` and `export` of what it left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import FATAL, SOME_FAILED, EngineName, Json, ShardText, say

if TYPE_CHECKING:
    from .predicting import Batch
    from .shards import Shard

_SHOWN = 50
_GIB = 2**30
AnswersPlace = Annotated[str, typer.Argument(help="Folder or URL that predict has written to.")]


def predict(
    model: Annotated[str, typer.Argument(help="A model that fit has made, or its URL.")],
    folder: Annotated[
        str, typer.Argument(help="Folder with cases, or one case; or a URL, such as s3://b/new.")
    ],
    out: Annotated[str, typer.Option("-o", "--out", help="Folder for the answers, or a URL.")],
    level: Annotated[
        float, typer.Option(help="Level of the intervals.", min=0.01, max=0.999)
    ] = 0.95,
    device: Annotated[
        str | None, typer.Option(help="Such as cuda; cuda:0,cuda:1 for a worker on each.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes; 0: one per core or device.", min=0)] = 0,
    nodes: Annotated[int, typer.Option(help="Nodes that are answered together.", min=1)] = 200_000,
    time_limit: Annotated[
        float, typer.Option(help="Seconds that reading a file may take.", min=0.1)
    ] = 60.0,
    memory_limit: Annotated[
        float, typer.Option(help="GiB that reading a file may take.", min=0.01)
    ] = 4.0,
    shard: ShardText = None,
    executor: EngineName = "local",
    precision: Annotated[
        str, typer.Option(help="bf16 or fp16 for networks; what that costs is told.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Answer a folder of cases, each on its own mesh and in its own format; goes on where it
    ended."""
    from .console import Bars
    from .groups import Budget
    from .predicting import Job, predict_folder

    budget = Budget(nodes=nodes)
    limits = (time_limit, int(memory_limit * _GIB))
    job = Job(level, device, workers, budget, *limits, executor, precision)
    part = given_shard(shard)
    with Bars() as bars:
        batch = predict_folder(model, folder, out, job=job, shard=part, progress=bars)
    tell_batch(batch, out, as_json)


def retry(
    out: AnswersPlace,
    only: Annotated[
        list[str] | None, typer.Option(help="A status, such as crashed (repeat); default all bad.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model, where it is not where it was.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Answer again what ended without an answer."""
    from .console import Bars
    from .manifest import DONE, STATUSES
    from .predicting import retry_folder

    unknown = set(only or ()) - set(STATUSES)
    if unknown:
        raise ValueError(f"--only: expected some of {', '.join(STATUSES)}, got {sorted(unknown)}")
    chosen = only or [status for status in STATUSES if status not in DONE]
    with Bars() as bars:
        batch = retry_folder(out, chosen, model=model, progress=bars)
    tell_batch(batch, out, as_json)


def merge(out: AnswersPlace, as_json: Json = False) -> None:
    """Join the manifests of all shards."""
    from .predicting import MANIFEST, finished
    from .shards import merge as merge_shards
    from .sinks import sink_at

    with sink_at(out) as sink:
        sink.bring()
        sink.manifest(MANIFEST)
        batch = finished(sink, merge_shards(sink.path))
    tell_batch(batch, out, as_json)


def export(
    out: AnswersPlace,
    csv: Annotated[Path, typer.Option(help="The file to write; .parquet with pyarrow.")],
    timings: Annotated[bool, typer.Option("--timings", help="With the seconds they took.")] = False,
) -> None:
    """What became of each case, as a table."""
    from .exporting import export_table
    from .predicting import batch_in
    from .sinks import sink_at

    with sink_at(out) as sink:
        count = export_table(batch_in(sink), csv, timings)
    typer.echo(f"wrote {count} rows to {csv}")


def given_shard(text: str | None) -> Shard:
    """As asked for, else as the scheduler says, which is told."""
    from .shards import Shard, scheduled_shard

    if text is not None:
        return Shard.parsed(text)
    shard, variable = scheduled_shard()
    if variable:
        typer.echo(
            f"shard {shard.index}/{shard.count} by {variable}; --shard 0/1 takes the whole folder",
            err=True,
        )
    return shard


def tell_batch(batch: Batch, out: str, as_json: bool) -> None:
    """Prints what became of the cases, and ends with the code that says whether all is well."""
    from dataclasses import asdict

    total = sum(batch.counts.values())
    if as_json:
        content: list[Any] = [asdict(outcome) for outcome in batch.outcomes()]
        say(content, ())
    else:
        say(None, list(_lines(batch, total)))
        typer.echo(f"{_counted(batch)}; wrote {out}")
    if batch.failed:
        raise typer.Exit(FATAL if batch.failed == total else SOME_FAILED)
    raise typer.Exit(0)


def _lines(batch: Batch, total: int) -> Iterator[str]:
    """A line per case; of many cases those that are not ok, the first of them."""
    shown = 0
    for o in batch.outcomes():
        if total > _SHOWN and o.status == "ok":
            continue
        shown += 1
        if shown > _SHOWN:
            yield "... `fieldcast export` writes all"
            return
        yield f"{o.case}: {o.status}{f' ({o.message})' if o.message else ''} {o.output}"


def _counted(batch: Batch) -> str:
    return ", ".join(f"{count} {status}" for status, count in batch.counts.items())
