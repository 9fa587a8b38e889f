"""What every detector promises, whichever back end does the work, and that they all see the same.

The nets made here have random weights, so they see much in nothing; what counts is that every back end sees the same.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from walkout.domain.sensing import Detection
from walkout.errors import ModelError
from walkout.vision.detector import BACKENDS, FAKE_BODY_BGR, Detector, open_detector
from walkout.vision.models import ModelCard, read_card

cv2 = pytest.importorskip("cv2", reason="the extra 'vision' is not installed")

#: What torch says of the way that ultralytics exports.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{words}")
    for words in ("You are using the legacy", "The feature will be removed", "`torch.jit", "Converting a tensor")
]

SHARED = Path(__file__).parents[2].parent / "shared"
WEIGHTS = SHARED / "weights"
INPUT_PX = (160, 160)
#: What two back ends may differ by on the same file: pixels, and score.
SAME_PX, SAME_SCORE = 1.0, 0.01

Images = list[NDArray[np.uint8]]
needs_ultralytics = pytest.mark.skipif(find_spec("ultralytics") is None, reason="the extra 'train' is not installed")
needs_weights = pytest.mark.skipif(not WEIGHTS.is_dir(), reason="the weights are not beside the repository")


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> None:
    os.environ |= {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a net with random weights and exports it: (config, format, batch, end to end) -> path; each only once."""
    if find_spec("ultralytics") is None:
        pytest.skip("the extra 'train' is not installed")
    from walkout.vision.export import export_model

    room = tmp_path_factory.mktemp("nets")
    made: dict[tuple[object, ...], Path] = {}

    def make(config: str, form: str, batch: int | None = 1, end_to_end: bool = False) -> Path:
        key = (config, form, batch, end_to_end)
        if key not in made:
            weights = room / f"{config}.pt"
            if not weights.exists():
                _random_net(config, weights)
            folder = room / "-".join(str(part) for part in key)
            card = export_model(weights, form, folder, input_px=INPUT_PX, batch=batch, end_to_end=end_to_end)
            made[key] = folder / card.path
        return made[key]

    return make


def _random_net(config: str, path: Path) -> None:
    """A net whose scores spread over 0 to 1: random weights, normalised on noise, the last layer made bold."""
    import torch
    from ultralytics import YOLO

    torch.set_num_threads(1)
    torch.manual_seed(1)
    model = YOLO(f"{config}.yaml")
    for layer in model.model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
            layer.reset_running_stats()
    with torch.no_grad():
        model.model.train()
        model.model(torch.rand(8, 3, *INPUT_PX))
        model.model.eval()
        head = model.model.model[-1]
        for name in ("cv3", "one2one_cv3"):
            for scores in getattr(head, name, None) or []:
                scores[-1].bias.fill_(-4.0)
                scores[-1].weight *= 4
    model.save(str(path))


def pictures() -> Images:
    """Blurred noise with patches that the fake takes for bodies: a sub-stream, an upright and a very thin picture."""
    rng = np.random.default_rng(7)
    shapes = [(360, 640), (360, 640), (200, 120), (300, 41)]
    found = []
    for index, shape in enumerate(shapes):
        coarse = rng.integers(0, 256, (shape[0] // 8 + 1, shape[1] // 8 + 1, 3), dtype=np.uint8)
        image = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
        image[40 : 140 + 10 * index, 10:35] = FAKE_BODY_BGR
        found.append(np.asarray(image, np.uint8))
    return found


@pytest.fixture(params=sorted(BACKENDS))
def opened(request: pytest.FixtureRequest, tiny: Callable[..., Path]) -> Detector:
    """A pose detector of every name in the table."""
    backend = str(request.param)
    if backend == "fake":
        return open_detector(ModelCard("fake", "fake", "pose", ("person",), INPUT_PX), "fake")
    return open_detector(tiny("yolo11n-pose", "openvino" if backend == "openvino" else "onnx"), backend)


def test_a_detector_says_which_back_end_and_task_it_is(opened: Detector) -> None:
    assert opened.name in BACKENDS
    assert opened.task == "pose"
    assert opened.batch is None or opened.batch >= 1


def test_no_picture_no_answer(opened: Detector) -> None:
    assert opened.detect([]) == []


def test_every_picture_is_answered_alone_as_among_others_of_its_shape(opened: Detector) -> None:
    images = pictures()[:2]
    together = opened.detect(images)
    assert [len(found) > 0 for found in together] == [True, True]
    for image, found in zip(images, together, strict=True):
        assert_same(opened.detect([image])[0], found)


def test_pictures_of_several_shapes_go_in_one_call(opened: Detector) -> None:
    images = pictures()
    assert len(opened.detect(images)) == len(images)


def test_boxes_lie_in_the_picture_and_the_surest_comes_first(opened: Detector) -> None:
    for image, found in zip(pictures(), opened.detect(pictures()), strict=True):
        height, width = image.shape[:2]
        for one in found:
            left, top, right, bottom = one.box_px
            assert 0 <= left <= right <= width
            assert 0 <= top <= bottom <= height
            assert 0.25 < one.score <= 1
            assert isinstance(one.label, str)
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_pose_has_seventeen_keypoints_with_scores(opened: Detector) -> None:
    found = [one for answer in opened.detect(pictures()) for one in answer]
    assert found
    for one in found:
        assert one.keypoints is not None
        assert one.keypoints.shape == (17, 3)
        assert ((one.keypoints[:, 2] >= 0) & (one.keypoints[:, 2] <= 1)).all()


def test_pictures_are_only_read(opened: Detector) -> None:
    images, before = pictures(), pictures()
    for image in images:
        image.flags.writeable = False
    opened.detect(images)
    assert all((image == old).all() for image, old in zip(images, before, strict=True))


def assert_same(left: Sequence[Detection], right: Sequence[Detection]) -> None:
    """The same detections in the same order, within a pixel and a hundredth."""
    assert [one.label for one in left] == [one.label for one in right]
    for one, other in zip(left, right, strict=True):
        np.testing.assert_allclose(one.box_px, other.box_px, rtol=0, atol=SAME_PX)
        assert one.score == pytest.approx(other.score, abs=SAME_SCORE)
        assert (one.keypoints is None) == (other.keypoints is None)
        if one.keypoints is not None and other.keypoints is not None:
            np.testing.assert_allclose(one.keypoints[:, :2], other.keypoints[:, :2], rtol=0, atol=SAME_PX)
            np.testing.assert_allclose(one.keypoints[:, 2], other.keypoints[:, 2], rtol=0, atol=SAME_SCORE)


def assert_both_see_the_same(weights: Path, light: str, images: Images) -> int:
    """Ultralytics and a light back end over the same file; returns how many things they saw.

    Ultralytics lets OpenVINO choose the precision, so the light one does the same here.
    """
    one, other = open_detector(weights, "ultralytics"), open_detector(weights, light, precision="fast")
    seen = 0
    for image in images:
        expected, found = one.detect([image])[0], other.detect([image])[0]
        assert_same(expected, found)
        seen += len(found)
    return seen


@pytest.mark.parametrize("config", ["yolo11n", "yolo11n-pose"])
@pytest.mark.parametrize(("form", "backend"), [("onnx", "onnx"), ("openvino", "openvino")])
def test_ultralytics_and_the_light_back_end_see_the_same(
    tiny: Callable[..., Path], config: str, form: str, backend: str
) -> None:
    assert assert_both_see_the_same(tiny(config, form), backend, pictures()) > 20


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_head_that_needs_no_suppression_is_known_by_its_shape(tiny: Callable[..., Path], backend: str) -> None:
    weights = tiny("yolo26n-pose", "onnx" if backend == "onnx" else "openvino", end_to_end=True)
    assert assert_both_see_the_same(weights, backend, pictures()) > 20


def test_a_net_of_any_size_gets_rectangles_and_whole_batches(tiny: Callable[..., Path]) -> None:
    weights = tiny("yolo11n", "onnx", batch=None)
    one, other = open_detector(weights, "ultralytics"), open_detector(weights, "onnx")
    assert other.batch is None
    for images in (pictures()[:2], pictures()):
        for expected, found in zip(one.detect(images), other.detect(images), strict=True):
            assert_same(expected, found)


def test_a_net_of_fixed_batch_takes_fewer_and_more(tiny: Callable[..., Path]) -> None:
    weights = tiny("yolo11n", "onnx", batch=2)
    one, other = open_detector(weights, "ultralytics"), open_detector(weights, "onnx")
    assert other.batch == 2
    images = pictures()[:3]
    for expected, found in zip(one.detect(images), other.detect(images), strict=True):
        assert_same(expected, found)


def test_trained_weights_tell_task_and_size_themselves(tiny: Callable[..., Path], tmp_path: Path) -> None:
    trained = tiny("yolo11n-pose", "onnx").parents[1] / "yolo11n-pose.pt"
    nameless = tmp_path / "best.pt"
    nameless.write_bytes(trained.read_bytes())
    detector = open_detector(nameless)
    assert (detector.name, detector.task, detector.batch) == ("ultralytics", "pose", None)
    found = detector.detect(pictures()[:2])
    assert [one.keypoints is not None for answer in found for one in answer][:1] == [True]
    assert len(found) == 2


def test_an_export_that_was_changed_is_not_run_under_its_card(tiny: Callable[..., Path], tmp_path: Path) -> None:
    made = tiny("yolo11n", "openvino")
    folder = shutil.copytree(made, tmp_path / made.name)
    shutil.copy(made.with_name(f"{made.name}.toml"), tmp_path)
    card = read_card(tmp_path / f"{made.name}.toml")
    assert open_detector(card, models_dir=tmp_path).task == "detect"
    graph = next(folder.glob("*.xml"))
    graph.write_text(graph.read_text() + "\n")
    with pytest.raises(ModelError, match=r"sha256 is .* the card says"):
        open_detector(card, models_dir=tmp_path)


def store_frames(count: int) -> Images:
    """Frames of the real store, spread over the first 20 s of cameras 3 and 7."""
    found = []
    for name in ("cam3.mp4", "cam7.mp4"):
        video = next((SHARED / "data" / "nanostore" / "cps-test-01").rglob(name), None)
        capture = cv2.VideoCapture(str(video))
        frames = []
        while len(frames) < 200:
            good, frame = capture.read()
            if not good:
                break
            frames.append(np.asarray(frame, np.uint8))
        capture.release()
        found += frames[:: max(len(frames) // count, 1)][:count]
    return found


def person_pictures(count: int) -> Images:
    paths = sorted((SHARED / "data" / "persons" / "images").glob("*.jpg"))[:count]
    return [np.asarray(cv2.imread(str(path)), np.uint8) for path in paths]


@needs_ultralytics
@needs_weights
@pytest.mark.parametrize("folder", ["yolov8n-pose_int8_openvino_model", "yolov8n_int8_openvino_model"])
def test_real_weights_give_the_same_in_both_back_ends_on_real_pictures(folder: str) -> None:
    images = [*person_pictures(24), *store_frames(10)]
    assert assert_both_see_the_same(WEIGHTS / folder, "openvino", images) > 20


@needs_weights
def test_yolox_sees_the_same_in_onnx_runtime_and_openvino() -> None:
    images = person_pictures(24)
    one, other = (open_detector(WEIGHTS / "yolox_nano.onnx", backend) for backend in ("onnx", "openvino"))
    for image in images:
        assert_same(one.detect([image])[0], other.detect([image])[0])


@needs_weights
@pytest.mark.parametrize(
    ("weights", "floor"),
    [
        ("yolov8n-pose_int8_openvino_model", 0.40),  # measured 0.436
        ("yolov8n_int8_openvino_model", 0.52),  # measured 0.564
        ("yolox_nano.onnx", 0.43),  # measured 0.473
    ],
)
def test_labelled_persons_are_found(weights: str, floor: float) -> None:
    """Recall over the 55 boxes of persons at IoU 0.5 and score 0.25; many are a few pixels large, in crowds."""
    detector = open_detector(WEIGHTS / weights)
    found = total = 0
    for path in sorted((SHARED / "data" / "persons" / "images").glob("*.jpg")):
        image = np.asarray(cv2.imread(str(path)), np.uint8)
        boxes = [np.array(one.box_px) for one in detector.detect([image])[0] if one.label == "person"]
        for truth in person_boxes(path, image):
            total += 1
            found += any(overlap(truth, box) >= 0.5 for box in boxes)
    assert total == 55
    assert found / total >= floor


def person_boxes(path: Path, image: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
    """Labelled persons of a picture as left, top, right, bottom in pixels."""
    label = path.parents[1] / "labels" / f"{path.stem}.txt"
    rows = [[float(cell) for cell in line.split()] for line in label.read_text().splitlines()] if label.exists() else []
    size = np.array([image.shape[1], image.shape[0]] * 2)
    return [
        np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2]) * size
        for kind, x, y, width, height in rows
        if kind == 0
    ]


def overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Intersection over union of two boxes."""
    inner = np.clip(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0, None).prod()
    return float(inner / ((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - inner))
