"""Around the net: pictures laid in, boxes kept, keypoints put back; and how a detector is chosen and refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walkout.errors import ModelError
from walkout.vision.detector import FAKE_BODY_BGR, FakeDetector, able_backends, open_detector
from walkout.vision.models import ModelCard

pytest.importorskip("cv2", reason="the extra 'vision' is not installed")

from walkout.vision.heads import MAX_DETECTIONS, Fit, letterbox, letterbox_corner, prepare, read_output, suppress
from walkout.vision.onnx_detector import LightDetector

TWO = ModelCard("two", "two.onnx", "detect", ("person", "bag"), (64, 64))
POSE = ModelCard("pose", "pose.onnx", "pose", ("person",), (64, 64))
YOLOX = ModelCard("grid", "grid.onnx", "detect", ("person", "bag"), (64, 32), head="yolox")


def rows(*lines: tuple[float, float, float, float, float, int]) -> np.ndarray:
    """left, top, right, bottom, score, class."""
    return np.array(lines, np.float32)


@settings(deadline=None)
@given(st.integers(1, 2000), st.integers(1, 2000), st.booleans())
def test_a_point_laid_into_the_input_comes_back_to_its_pixel(width: int, height: int, rectangle: bool) -> None:
    padded, fit = letterbox(np.zeros((height, width, 3), np.uint8), (160, 160), rectangle)
    corners = np.array([[0, 0], [width, height]], np.float32)
    laid = corners * np.array(fit.gain) + np.array(fit.pad)
    assert (laid >= 0).all()
    assert (laid <= np.array(padded.shape[1::-1]) + 1e-3).all()
    np.testing.assert_allclose(fit.back(laid.astype(np.float32)), corners, atol=0.01)


def test_a_wide_picture_gets_grey_above_and_below() -> None:
    padded, fit = letterbox(np.full((360, 640, 3), 255, np.uint8), (640, 640))
    assert padded.shape == (640, 640, 3)
    assert fit == Fit((1.0, 1.0), (0, 140), (640, 360))
    assert (padded[:140] == 114).all()
    assert (padded[140:500] == 255).all()


def test_a_rectangle_pads_only_to_the_next_multiple_of_32() -> None:
    padded, _ = letterbox(np.zeros((360, 640, 3), np.uint8), (640, 640), rectangle=True)
    assert padded.shape == (384, 640, 3)


def test_yolox_gets_its_picture_in_the_corner_in_blue_green_red_unscaled() -> None:
    image = np.zeros((16, 64, 3), np.uint8)
    image[:, :, 0] = 200
    padded, fit = letterbox_corner(image, (64, 32))
    assert fit.pad == (0, 0)
    assert (padded[16:] == 114).all()
    blob, _ = prepare([image], YOLOX, (64, 32), dynamic=False)
    assert blob.shape == (1, 3, 32, 64)
    assert blob[0, :, 0, 0].tolist() == [200.0, 0.0, 0.0]


def test_other_nets_get_red_green_blue_from_zero_to_one() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, :, 0] = 255
    blob, _ = prepare([image], TWO, (64, 64), dynamic=False)
    assert blob[0, :, 5, 5].tolist() == [0.0, 0.0, 1.0]


def test_of_two_boxes_on_one_thing_the_surer_stays() -> None:
    kept = suppress(rows((0, 0, 10, 10, 0.6, 0), (1, 0, 11, 10, 0.9, 0), (30, 30, 40, 40, 0.5, 0)), 0.7)
    assert kept[:, 4].tolist() == pytest.approx([0.9, 0.5])


def test_a_box_of_another_class_on_the_same_place_stays() -> None:
    assert len(suppress(rows((0, 0, 10, 10, 0.6, 0), (0, 0, 10, 10, 0.9, 1)), 0.7)) == 2


def test_an_overlap_of_just_the_limit_stays() -> None:
    # 7 of 10 columns shared: 70 / 100 of the union when the smaller lies in the larger.
    assert len(suppress(rows((0, 0, 10, 10, 0.9, 0), (0, 0, 7, 10, 0.8, 0)), 0.75)) == 2
    assert len(suppress(rows((0, 0, 10, 10, 0.9, 0), (0, 0, 7, 10, 0.8, 0)), 0.65)) == 1


def test_a_picture_holds_at_most_three_hundred_boxes() -> None:
    many = rows(*((index * 20.0, 0, index * 20.0 + 10, 10, 0.5, 0) for index in range(MAX_DETECTIONS + 50)))
    assert len(suppress(many, 0.7)) == MAX_DETECTIONS


@pytest.mark.parametrize("seed", range(5))
def test_suppression_keeps_what_torchvision_keeps(seed: int) -> None:
    torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")
    nms = pytest.importorskip("torchvision").ops.nms
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 200, (400, 2)), rng.uniform(5, 120, (400, 2))
    table = np.hstack([corner, corner + size, rng.random((400, 1)), rng.integers(0, 3, (400, 1))]).astype(np.float32)
    boxes = torch.from_numpy(table[:, :4] + table[:, 5:] * np.float32(7680))
    expected = nms(boxes, torch.from_numpy(table[:, 4].copy()), 0.7)[:MAX_DETECTIONS].numpy()
    np.testing.assert_array_equal(suppress(table, 0.7), table[expected])


def test_a_plain_head_is_read_as_centre_size_and_scores() -> None:
    output = np.zeros((1, 6, 21), np.float32)
    output[0, :, 3] = [20, 30, 10, 8, 0.1, 0.8]
    (found,) = read_output(output, TWO, (64, 64), 0.25)
    np.testing.assert_allclose(found, [[15, 26, 25, 34, 0.8, 1]])


def test_an_end_to_end_head_is_read_as_corners_and_not_suppressed() -> None:
    output = np.zeros((1, 300, 57), np.float32)
    output[0, :2, :6] = [[1, 2, 11, 12, 0.9, 0], [1, 2, 11, 12, 0.8, 0]]
    output[0, 0, 6:9] = [5, 6, 0.7]
    (found,) = read_output(output, POSE, (64, 64), 0.25)
    assert len(found) == 2
    assert found[0, 6:9].tolist() == pytest.approx([5, 6, 0.7])


def test_yolox_grids_are_read_fine_to_coarse_and_row_by_row() -> None:
    output = np.zeros((1, 32 + 8 + 2, 7), np.float32)
    output[0, 8 + 2] = [0.5, 0.5, np.log(2), 0, 0.9, 0.1, 0.8]  # fine grid, 8 cells a row: x 2, y 1
    output[0, 32 + 8 + 1] = [0, 0, 0, 0, 0.9, 0.9, 0.1]  # coarse grid, x 1, y 0
    (found,) = read_output(output, YOLOX, (64, 32), 0.25)
    np.testing.assert_allclose(found[0], [16, -16, 48, 16, 0.81, 0], atol=1e-5)
    np.testing.assert_allclose(found[1], [12, 8, 28, 16, 0.72, 1], atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 9, 21), (1, 84), (1, 300, 7)])
def test_an_output_that_does_not_fit_the_card_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=r"two: an output of shape"):
        read_output(np.zeros(shape, np.float32), TWO, (64, 64), 0.25)


def test_a_net_of_fixed_batch_runs_as_often_as_it_must() -> None:
    seen: list[int] = []

    def net(blob: np.ndarray) -> np.ndarray:
        seen.append(len(blob))
        return np.zeros((len(blob), 300, 6), np.float32)

    detector = LightDetector("onnx", TWO, net, (2, 3, 64, 64), 0.25)
    assert detector.detect([np.zeros((10, 10, 3), np.uint8)] * 3) == [(), (), ()]
    assert seen == [2, 2]


def test_the_fake_finds_every_body_and_leaves_the_rest() -> None:
    image = np.full((100, 200, 3), 90, np.uint8)
    image[10:90, 20:50] = FAKE_BODY_BGR
    image[50:90, 100:120] = FAKE_BODY_BGR
    (found,) = FakeDetector().detect([image])
    assert [one.box_px for one in found] == [(20, 10, 50, 90), (100, 50, 120, 90)]
    assert found[0].keypoints is not None
    assert found[0].keypoints[:, 0].min() > 20


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"backend": "tensorflow"}, r"no back end 'tensorflow'; known are auto, openvino"),
        ({"precision": "f16"}, r"give 'fast' or 'f32'"),
        ({"confidence": 0.0}, r"between 0 and 1"),
        ({"backend": "onnx"}, r"two: two.onnx lies in none of .*walkout models pull two"),
    ],
)
def test_a_choice_that_cannot_be_is_told_with_its_remedy(choice: dict[str, object], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        open_detector(TWO, **choice)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_file_that_is_no_model_is_told(tmp_path: Path, backend: str) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    (tmp_path / "two.onnx").write_bytes(b"no model at all")
    with pytest.raises(ModelError, match=r"two\.onnx: .* cannot load it"):
        open_detector(TWO, backend, models_dir=tmp_path)


def test_an_engine_without_a_gpu_is_told(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")
    if torch.cuda.is_available():
        pytest.skip("this box has a GPU")
    head = b'{"task": "detect", "names": {"0": "person"}, "imgsz": [640, 640], "batch": 1}'
    (tmp_path / "people.engine").write_bytes(len(head).to_bytes(4, "little") + head)
    with pytest.raises(ModelError, match="TensorRT needs an NVIDIA GPU"):
        open_detector(tmp_path / "people.engine")


def test_what_finds_nobody_is_no_detector(tmp_path: Path) -> None:
    card = ModelCard("looks", "looks.onnx", "reid", (), (128, 256), head="embedding")
    with pytest.raises(ModelError, match="looks: a model of task 'reid' finds nobody"):
        LightDetector("onnx", card, lambda blob: blob, (1, 3, 256, 128), 0.25)
    assert "ultralytics" not in able_backends(card, tmp_path / "looks.onnx")
