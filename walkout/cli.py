"""The command line: one short function per command. Results go to standard output, all else to standard error."""

import importlib
import io
import json
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from walkout import __version__
from walkout.billing.records import BooksReport
from walkout.errors import WalkoutError
from walkout.store.catalog import Store

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
store_app = typer.Typer(no_args_is_help=True, help="Look at a store folder.")
import_app = typer.Typer(no_args_is_help=True, help="Turn recordings of other formats into ours.")
models_app = typer.Typer(no_args_is_help=True, help="Detection models: their cards, their weights, whether they run.")
vision_app = typer.Typer(no_args_is_help=True, help="Look at what the cameras see and what is made of it.")
books_app = typer.Typer(no_args_is_help=True, help="Look after the books: backup, restore, migrate.")
app.add_typer(books_app, name="books")
app.add_typer(store_app, name="store")
app.add_typer(import_app, name="import")
app.add_typer(models_app, name="models")
app.add_typer(vision_app, name="vision")

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


@app.command()
def calibrate(
    folder: Annotated[Path, typer.Argument(metavar="STORE", help="A store folder, or a nanostore folder or case.")],
    marks: Annotated[Path | None, typer.Option(help="CSV: camera,name,u_px,v_px,x_m,y_m,z_m; empty: unknown.")] = None,
    boards: Annotated[Path | None, typer.Option(help="TOML: ChArUco boards and AprilTags with their poses.")] = None,
    people: Annotated[Path | None, typer.Option(help="JSON lines of detections of one person walking.")] = None,
    view: Annotated[list[str] | None, typer.Option(help="CAMERA=FILE, a picture or video; may be repeated.")] = None,
    camera_set: Annotated[str | None, typer.Option("--set", help="Camera set of a nanostore folder.")] = None,
    new: Annotated[bool, typer.Option(help="Find cameras from nothing, also those calibrated before.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Refine this camera and hold the others; repeatable.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write calibration.toml here; a store folder's own if given it.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Folder for the store's wireframe over every view.")] = None,
) -> None:
    """Calibrate cameras from marks, printed boards and walking people; tell the error, draw the store over each view.

    Without marks, boards and people it draws what is known already. A mark without coordinates that two cameras
    see helps too: an ankle, a shoulder, a crumb on the floor.
    """
    from walkout.app import calibrate as calibrator

    store = calibrator.open_store(folder, camera_set)
    views = {name: calibrator.read_view(file) for name, file in calibrator.named_views(view or []).items()}
    seen = calibrator.collect_marks(marks, boards, people, views)
    models = store.cameras
    if seen:
        sizes = {name: (image.shape[1], image.shape[0]) for name, image in views.items()}
        fit = calibrator.calibrate(models, store.layout.cameras, seen, sizes, new, only or ())
        models = {**models, **fit.cameras}
        for line in calibrator.in_words(fit):
            typer.echo(line)
        if out is not None:
            _say(f"written: {calibrator.write_calibration(out, models, fit)}")
    if picture is not None:
        for path in calibrator.draw_pictures(picture, views, models, store.layout, seen):
            _say(f"drawn: {path}")


@app.command()
def edge(
    context: typer.Context,
    config: Annotated[Path, typer.Option(help="What this box is told; edge/store.toml is an example.")],
) -> None:
    """Run an edge box: cameras to observations in the log, video on its own disk, health on HTTP. Ctrl-C ends it.

    Cameras and the log may come and go; pictures never leave the box. Status 0 after an orderly end.
    """
    import threading

    _need_vision()
    from walkout.app.edge import run_edge
    from walkout.app.edge_config import read_edge_config
    from walkout.app.supervisor import ending_signals
    from walkout.domain.ids import fresh_id
    from walkout.settings import load_settings

    settings, told, ended = load_settings(context.obj), read_edge_config(config), threading.Event()
    with ending_signals(ended.set):
        run_edge(told, config, settings, fresh_id()[:8], ended, _say)


DatabaseOption = Annotated[str, typer.Option("--database", help="Address of the books; default: WALKOUT_DATABASE_URL.")]


@app.command("verify-books")
def verify_books(context: typer.Context, database: DatabaseOption = "") -> None:
    """Prove from the database alone that every posting, charge, refund and receipt agree; status 1 if not."""
    from walkout.app.books import verify

    _print_books(verify(_books_of(context, database)))


@books_app.command("backup")
def books_backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="File to make, such as books.jsonl.gz; must not be there yet.")],
    database: DatabaseOption = "",
) -> None:
    """Write the whole books into one file, in one consistent look, while billing runs."""
    from walkout.app.books import backup

    typer.echo(f"{file}: {backup(_books_of(context, database), file)} rows")


@books_app.command("restore")
def books_restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A backup; SQLite and PostgreSQL restore each other's.")],
    database: DatabaseOption = "",
) -> None:
    """Fill an empty database from a backup and prove it; all or nothing."""
    from walkout.app.books import restore

    _print_books(restore(file, _books_of(context, database)))


@books_app.command("migrate")
def books_migrate(context: typer.Context, database: DatabaseOption = "") -> None:
    """Bring older books up to this version; billing does the same when it starts."""
    from walkout.app.books import migrate_books

    before, after = migrate_books(_books_of(context, database))
    typer.echo(f"{before or 'new'} -> {after}")


def _books_of(context: typer.Context, database: str) -> str:
    """The address given, else that of the settings."""
    from walkout.settings import load_settings

    found = database or load_settings(context.obj).database_url
    if not found:
        raise typer.BadParameter("name the books, or set WALKOUT_DATABASE_URL", param_hint="--database")
    return found


def _print_books(report: BooksReport) -> None:
    for problem in report.problems:
        typer.echo(f"problem: {problem}")
    moved = ", ".join(f"{minor} {unit} (minor units)" for unit, minor in sorted(report.captured.items())) or "nothing"
    counted = ", ".join(f"{number} {status}" for status, number in sorted(report.charges.items())) or "none"
    typer.echo(f"{report.transactions} transactions, {report.postings} postings; charges: {counted}; captured {moved}")
    typer.echo(
        f"{report.unfinished} visits on their way; the books {'balance' if report.balanced else 'do not balance'}"
    )
    raise typer.Exit(0 if report.balanced else 1)


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


@vision_app.callback()
def vision() -> None:
    """Look at what the cameras see and what is made of it."""


@vision_app.command("overlay")
def vision_overlay(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A recording with videos, cam*.mp4.")],
    out: Annotated[Path, typer.Option(help="sheet.png (or .jpg): some moments; video.mp4: all of them.")],
    at: Annotated[str, typer.Option(help="Seconds of the sheet's rows, such as 1,10.9,16.7; default: chosen.")] = "",
    wires: Annotated[bool, typer.Option("--wireframe", help="Draw the store's edges too.")] = False,
    hide_faces: Annotated[bool, typer.Option("--hide-faces", help="Blot out every head that is found.")] = False,
    store: StoreOption = None,
) -> None:
    """Draw boxes, skeletons, people, reaches, the floor and the receipt over a recording's videos.

    Pictures are shown as large as they were taken, never larger. What you write is footage of people: keep it so.
    """
    _need_vision()
    from walkout.app.drawing import Look
    from walkout.app.overlay import overlay
    from walkout.settings import load_settings

    try:
        at_s = [float(one) for one in at.split(",") if one.strip()]
    except ValueError:
        raise typer.BadParameter(f"{at!r}: write seconds such as 1,10.9,16.7", param_hint="--at") from None
    look = Look(wires=wires, hide_faces=hide_faces)
    _say(f"drawn: {overlay(folder, out, load_settings(context.obj), _say, at_s=at_s, look=look, store=store)}")


NearOption = Annotated[
    Path | None, typer.Option(help="A folder; 'weights' in it or in one of its parents is searched too.")
]


@models_app.command("list")
def models_list(context: typer.Context, near: NearOption = None) -> None:
    """Every model that has a card: what it does, its input and licence, where its weights lie."""
    from walkout.app import models, terminal
    from walkout.settings import load_settings

    settings = load_settings(context.obj)
    known = [(card, models.where(card, settings, near)) for card in models.chosen([], settings)]
    models.print_known(known, terminal.out())


@models_app.command("pull")
def models_pull(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of a model, as 'walkout models list' shows it.")],
    origin: Annotated[str, typer.Option("--from", help="A folder, file:// or https:// that holds its files.")],
    to: Annotated[Path | None, typer.Option(help="Folder to put them in; default: WALKOUT_MODELS_DIR.")] = None,
) -> None:
    """Fetch the weights of a model; only files with the sha256 of its card are taken."""
    from walkout.app import models
    from walkout.settings import load_settings
    from walkout.vision.models import find_card, pull

    settings = load_settings(context.obj)
    weights = pull(find_card(name, settings.models_dir), origin, models.pull_folder(settings, to))
    typer.echo(f"{weights}: pulled; every file is as on the card")


@models_app.command("check")
def models_check(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(help="Models, or paths of weights; default: all.")] = None,
    near: NearOption = None,
) -> None:
    """Compare weights with their cards and run one picture through every installed back end; status 1 if one fails."""
    from walkout.app import models
    from walkout.settings import load_settings

    failed = False
    for line in models.check(names or [], load_settings(context.obj), near):
        typer.echo(f"{ {True: 'ok', False: 'WRONG', None: '-'}[line.fine]:5} {line.model}: {line.what}")
        failed = failed or line.fine is False
    raise typer.Exit(1 if failed else 0)


@models_app.command("export")
def models_export(
    weights: Annotated[Path, typer.Argument(help="Trained weights, a .pt file of ultralytics.")],
    form: Annotated[str, typer.Option("--format", help="onnx, openvino or engine (TensorRT).")] = "openvino",
    to: Annotated[Path, typer.Option(help="Folder for the result and its card.")] = Path(),
    size: Annotated[str, typer.Option(help="Input as WIDTHxHEIGHT, multiples of 32.")] = "640x640",
    batch: Annotated[int, typer.Option(min=0, help="Pictures at once; 0 lets number and size vary.")] = 1,
    int8: Annotated[bool, typer.Option("--int8", help="Quantize to INT8; needs --data.")] = False,
    data: Annotated[str | None, typer.Option(help="Data set to quantize with, such as coco8-pose.yaml.")] = None,
    end_to_end: Annotated[bool, typer.Option("--end-to-end", help="Keep YOLO26's head without suppression.")] = False,
) -> None:
    """Turn trained weights into what runs at the edge, with a card beside it. Needs the 'train' extra."""
    from walkout.vision.export import export_model

    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise typer.BadParameter(f"{size!r}: write such as 640x384", param_hint="--size")
    card = export_model(
        weights, form, to, input_px=(int(width), int(height)), batch=batch or None, int8=int8, data=data,
        end_to_end=end_to_end,
    )  # fmt: skip
    typer.echo(f"{to / card.path}: exported, with its card {card.name}.toml; write down there how it was trained")


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


def _need_vision() -> None:
    """Raise ``WalkoutError`` where the base install lacks what cameras need."""
    for module in ("av", "cv2", "prometheus_client"):
        try:
            importlib.import_module(module)
        except ImportError:
            raise WalkoutError(
                f"cameras need {module}, which is not installed: pip install 'walkout[vision]'"
            ) from None


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
