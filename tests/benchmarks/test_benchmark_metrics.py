from __future__ import annotations

import numpy as np
import pytest
from metrics_detection import Detections, decode_yolox, iou, mean_average_precision, suppress
from scipy.stats import spearmanr
from user_metrics import map50, psnr_db, sentence_spearman


def _found(*rows: tuple[float, int, float, float, float, float]) -> Detections:
    """From rows of score, class, corners."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(table[:, 2:], table[:, 0], table[:, 1].astype(np.int64))


TWO_BOXES = np.array([[3, 0, 0, 10, 10], [3, 20, 20, 30, 30]], np.float64)


def test_iou_of_known_boxes() -> None:
    a = np.array([[0, 0, 10, 10]], np.float64)
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [10, 0, 20, 10]], np.float64)
    np.testing.assert_allclose(iou(a, b), [[1, 1 / 3, 0, 0]])


def test_perfect_detections_score_one() -> None:
    found = _found((0.9, 3, 0, 0, 10, 10), (0.8, 3, 20, 20, 30, 30))
    assert mean_average_precision([(found, TWO_BOXES)]) == 1.0


def test_average_precision_by_hand() -> None:
    """Right, wrong, right: precision 1 up to recall 1/2 (51 of 101 points), 2/3 beyond."""
    found = _found((0.9, 3, 0, 0, 10, 10), (0.8, 3, 50, 50, 60, 60), (0.7, 3, 20, 20, 30, 30))
    assert mean_average_precision([(found, TWO_BOXES)]) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_second_detection_of_the_same_box_is_wrong() -> None:
    found = _found((0.9, 3, 0, 0, 10, 10), (0.8, 3, 0, 0, 10, 9))
    assert mean_average_precision([(found, TWO_BOXES)]) == pytest.approx(51 / 101)


def test_detections_of_other_classes_do_not_count() -> None:
    found = _found((0.9, 4, 0, 0, 10, 10), (0.8, 4, 20, 20, 30, 30))
    assert mean_average_precision([(found, TWO_BOXES)]) == 0.0


def test_the_mean_is_over_the_classes_that_occur() -> None:
    true = np.array([[3, 0, 0, 10, 10], [5, 20, 20, 30, 30]], np.float64)
    found = _found((0.9, 3, 0, 0, 10, 10), (0.8, 7, 20, 20, 30, 30))
    assert mean_average_precision([(found, true)]) == 0.5


def test_scores_rank_across_images() -> None:
    """A wrong detection in another image that scores higher than the right one halves the precision."""
    one = (_found((0.5, 3, 0, 0, 10, 10)), TWO_BOXES[:1])
    empty = (_found((0.9, 3, 0, 0, 10, 10)), np.empty((0, 5)))
    assert mean_average_precision([one, empty]) == pytest.approx(0.5)


def test_without_true_boxes_there_is_no_mean_average_precision() -> None:
    with pytest.raises(ValueError, match="at least one true box"):
        mean_average_precision([(_found(), np.empty((0, 5)))])


def test_suppression_keeps_the_best_of_each_class() -> None:
    found = _found((0.9, 3, 0, 0, 10, 10), (0.8, 3, 0, 0, 10, 9), (0.7, 4, 0, 0, 10, 10), (0.6, 3, 40, 40, 50, 50))
    assert suppress(found).scores.tolist() == [0.9, 0.7, 0.6]


def _raw_with(box: tuple[float, float, float, float], of_class: int, side: int = 64) -> np.ndarray:
    """YOLOX output in which the cell of stride 16 at column 2, row 1 says ``box`` with certainty."""
    cells = sum((side // stride) ** 2 for stride in (8, 16, 32))
    raw = np.zeros((cells, 5 + 6), np.float32)
    x1, y1, x2, y2 = box
    row = (side // 8) ** 2 + 1 * (side // 16) + 2
    raw[row, :2] = (x1 + x2) / 2 / 16 - 2, (y1 + y2) / 2 / 16 - 1
    raw[row, 2:4] = np.log([(x2 - x1) / 16, (y2 - y1) / 16])
    raw[row, 4] = raw[row, 5 + of_class] = 1.0
    return raw


def test_decoding_inverts_the_head() -> None:
    found = decode_yolox(_raw_with((20, 10, 50, 40), of_class=4))
    np.testing.assert_allclose(found.boxes, [[20, 10, 50, 40]], rtol=1e-6)
    assert (found.classes.tolist(), found.scores.tolist()) == ([4], [1.0])


def test_map50_reads_padded_boxes() -> None:
    raw = np.stack([_raw_with((20, 10, 50, 40), 4), _raw_with((8, 8, 40, 40), 2)])
    boxes = np.full((2, 3, 5), -1, np.float32)
    boxes[0, 0], boxes[1, 0] = [4, 20, 10, 50, 40], [2, 8, 8, 40, 40]
    assert map50({"output": raw}, {"boxes": boxes}) == 1.0
    assert map50({"output": raw[::-1]}, {"boxes": boxes}) == 0.0


def _sentences() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    generator = np.random.default_rng(5)
    data = {
        "groups": np.repeat(np.arange(20), 2),
        "member": np.tile([0, 1], 20),
        "score": np.repeat(generator.random(20), 2),
    }
    return {"embedding": generator.standard_normal((40, 8)).astype(np.float32)}, data


def test_sentence_spearman_against_scipy() -> None:
    outputs, data = _sentences()
    a, b = outputs["embedding"][0::2].astype(np.float64), outputs["embedding"][1::2]
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert sentence_spearman(outputs, data) == pytest.approx(spearmanr(cosine, data["score"][0::2]).statistic)


def test_sentence_spearman_ignores_order_and_torn_pairs() -> None:
    outputs, data = _sentences()
    whole = np.random.default_rng(1).permutation(30)
    torn = np.append(whole, [30, 33])  # one sentence each of two further pairs
    picks = [({k: v[rows] for k, v in d.items()}) for rows in (whole, torn) for d in (outputs, data)]
    assert sentence_spearman(picks[0], picks[1]) == sentence_spearman(picks[2], picks[3])


def test_psnr_of_a_known_error() -> None:
    clean = np.zeros((2, 1, 4, 4), np.uint8)
    restored = np.full((2, 1, 4, 4), 0.1, np.float32)
    restored[1] = -3.0  # below the range: clipped, hence without error
    restored[1, 0, 0, 0] = 0.4
    np.testing.assert_allclose(psnr_db({"y": restored}, {"clean": clean}), [20.0, 20.0], rtol=1e-6)
