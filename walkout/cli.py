"""The command line: one short function per command. Results go to standard output, all else to standard error."""

import io
import json
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from walkout import __version__
from walkout.errors import WalkoutError
from walkout.store.catalog import Store

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
store_app = typer.Typer(no_args_is_help=True, help="Look at a store folder.")
import_app = typer.Typer(no_args_is_help=True, help="Turn recordings of other formats into ours.")
app.add_typer(store_app, name="store")
app.add_typer(import_app, name="import")

#: The simulated scene always starts at the same moment (2026-01-05 09:00 UTC), so that it is always the same.
DEMO_START_NS = 1_767_603_600_000_000_000
DEMO_SEED = 1

StoreOption = Annotated[
    Path | None, typer.Option(help="Store folder; default: what lies beside the recording or in a parent folder.")
]
SpeedHelp = "'fast' (no waiting), or how many recording seconds per second: 1 is real time."


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help="Settings file; else WALKOUT_CONFIG, walkout.toml.")] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    """Walk-out shopping: load cells and cameras in, one charged receipt per shopper out.

    Settings come from one TOML file and WALKOUT_* variables (WALKOUT_REDIS_URL, WALKOUT_DATABASE_URL, ...);
    without any, everything runs embedded and is thrown away afterwards.
    """
    if version:
        typer.echo(__version__)
        raise typer.Exit
    context.obj = config


@app.command()
def demo(
    context: typer.Context,
    speed: Annotated[str, typer.Option(help=SpeedHelp)] = "4",
) -> None:
    """Play a simulated shop through the real processes: live baskets, then receipts, then the books."""
    from walkout.app import replay as player
    from walkout.app import terminal
    from walkout.app.supervisor import orderly_signals, run_folder
    from walkout.settings import load_settings

    settings, console = load_settings(context.obj), terminal.out()
    with orderly_signals(), run_folder(settings.data_dir) as room:
        folder = room / "kiosk"
        live = terminal.LiveBaskets(record_kiosk(folder), console)
        replayed = player.replay(settings, folder, None, _speed(speed), _say, live.watch)
    console.print()
    terminal.print_replayed(replayed, console)


@app.command()
def replay(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="A recording of ours, or a folder in the nanostore's format.")],
    speed: Annotated[str, typer.Option(help=SpeedHelp)] = "fast",
    store: StoreOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON for other programs.")] = False,
) -> None:
    """Replay a recording to receipts through the real processes; a second replay charges nothing.

    Without WALKOUT_DATABASE_URL the ledger is thrown away afterwards. Shoppers get wallets with enough money.
    Status 0 when everything was read; damaged stretches are listed as gaps.
    """
    from walkout.app import replay as player
    from walkout.app import terminal
    from walkout.settings import load_settings

    settings, pace, console = load_settings(context.obj), _speed(speed), terminal.out()
    with terminal.progress_bar(folder.name or str(folder)) as (say, watch):
        replayed = player.replay(settings, folder, store, pace, say, watch)
    if as_json:
        print(json.dumps(player.as_json(replayed)))
    else:
        terminal.print_replayed(replayed, console)


@app.command()
def score(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="A labelled case, or a folder of them (truth.json beside each).")],
    store: StoreOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object of JSON for other programs.")] = False,
) -> None:
    """Run every labelled case through the whole route and compare its receipts and events with the truth."""
    from walkout.app import score as scorer
    from walkout.app import terminal
    from walkout.app.build import in_process_billing
    from walkout.settings import load_settings

    with in_process_billing(load_settings(context.obj)) as client, terminal.case_bar(folder.name) as tell:
        scores = scorer.score_folder(folder, store, client, tell)
    if as_json:
        print(json.dumps(scorer.as_json(scores), ensure_ascii=False))
    else:
        terminal.print_scores(scores, terminal.out())


@app.command()
def explain(
    context: typer.Context,
    case: Annotated[Path, typer.Argument(help="A recording of ours, or a folder in the nanostore's format.")],
    event: Annotated[str, typer.Argument(help="Number or id of a weight event; without one, all are listed.")] = "",
    png: Annotated[Path | None, typer.Option(help="Draw the weight curve and the hands' distance here.")] = None,
    store: StoreOption = None,
) -> None:
    """Why was this charged? What the plates felt, where the hands were, and every explanation considered."""
    from walkout.app import explain as explainer
    from walkout.app.build import in_process_billing
    from walkout.app.source import open_source
    from walkout.settings import load_settings

    if png is not None and not event:
        raise typer.BadParameter("a picture shows one event; name its number", param_hint="EVENT")
    with in_process_billing(load_settings(context.obj)) as client:
        told = explainer.tell(open_source(case, store), client)
    chosen = [explainer.find_event(told, event)] if event else list(told.events)
    for one in chosen:
        number = told.events.index(one) + 1
        typer.echo("\n   ".join([f"{number}. {one.event_id[:8]}", *explainer.in_words(told, one)]))
    if png is not None:
        explainer.draw(told, chosen[0], png)
        _say(f"drawn: {png}")


@store_app.command("check")
def store_check(folder: Annotated[Path, typer.Argument(help="Store folder: store.toml and its tables.")]) -> None:
    """Complain about everything wrong in a store folder: file, line and remedy; status 1 if there is an error."""
    from walkout.store.check import Severity
    from walkout.store.loader import check_store

    complaints = check_store(folder)
    for complaint in complaints:
        typer.echo(str(complaint))
    errors = sum(complaint.severity is Severity.ERROR for complaint in complaints)
    typer.echo(f"{folder}: {errors} errors, {len(complaints) - errors} warnings", err=True)
    raise typer.Exit(1 if errors else 0)


@import_app.command("nanostore")
def import_nanostore_command(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder in the public nanostore format.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="Folder to make; must hold no recording yet.")],
    store: StoreOption = None,
) -> None:
    """Turn a nanostore folder into a recording of ours, with its store; oddities are reported, never mended."""
    from walkout.app import terminal
    from walkout.app.nanostore import import_nanostore
    from walkout.app.source import keep_identity, recording_id
    from walkout.domain.clock import SystemClock

    with terminal.progress_bar(source.name or str(source)) as (_, watch):
        created_ns = SystemClock().now_ns()
        anomalies, gaps = import_nanostore(source, destination, created_ns, store, lambda share: watch(share, ()))
        keep_identity(destination, recording_id(source))
    for gap in gaps:
        typer.echo(f"gap: {gap.source}: {gap.reason}")
    typer.echo(f"{destination}: recorded; {len(anomalies)} anomalies of the store are listed in anomalies.csv")


def record_kiosk(folder: Path) -> Store:
    """Write the simulated scene as a recording with its store; returns the store."""
    from walkout.bus.recording import RecordingMeta, RecordingWriter
    from walkout.sim.scene import kiosk_scene, scene_records
    from walkout.store.loader import write_store

    scene = kiosk_scene()
    with RecordingWriter(folder, RecordingMeta("simulated kiosk", "walkout.sim", DEMO_START_NS)) as writer:
        for record in scene_records(scene, DEMO_SEED, DEMO_START_NS):
            writer.write(record)
    write_store(scene.store, folder / "store")
    return scene.store


def _speed(text: str) -> float | None:
    """Recording seconds per second, None for no waiting."""
    if text == "fast":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.0 < speed < 1e6:
        raise typer.BadParameter(f"{text!r}: write 'fast' or a number above 0, such as 1", param_hint="--speed")
    return speed


def _say(line: str) -> None:
    typer.echo(line, err=True)


def main() -> None:
    """Entry point: what we raise on purpose is told in one line, without a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows no Korean still gets its receipt
            stream.reconfigure(errors="replace")
    try:
        app()
    except WalkoutError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
