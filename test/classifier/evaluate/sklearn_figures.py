"""Writes sklearn_figures.json: scores and labels, and what scikit-learn says about them.

python -m venv venv && venv/bin/pip install scikit-learn==1.9.1 && venv/bin/python sklearn_figures.py
"""

import json
import pathlib

import numpy as np
import scipy
import sklearn
from sklearn.metrics import classification_report, confusion_matrix, log_loss

CLASSES = 6
BINS = 20

random = np.random.default_rng(7)
# No image is of class 4, class 5 is never predicted.
known = random.choice([0, 1, 2, 3, 5], size=400, p=[0.4, 0.3, 0.15, 0.1, 0.05])
logits = random.normal(size=(400, CLASSES)) * 1.5
logits[np.arange(400), known] += 1.5
logits[:, 5] = -40
scores = scipy.special.softmax(logits, axis=1).astype(np.float32)
# What rounding makes of confident models: exact zeros and ones, right and wrong, and confidences on the edges of bins.
scores[0] = np.eye(CLASSES)[known[0]]
scores[1] = np.eye(CLASSES)[(known[1] + 1) % 4]
scores[2] = [0.5, 0.3, 0.2, 0, 0, 0]
scores[3] = [0.75, 0.25, 0, 0, 0, 0]
predicted = scores.argmax(axis=1)
confidence = scores.max(axis=1).astype(np.float64)

# log_loss clips float32 scores to float32's resolution, but adds up in float32 too: the same scores as doubles, clipped
# to the same, give its figure with nine digits and more.
resolution = float(np.finfo(np.float32).eps)
clipped = np.clip(scores.astype(np.float64), resolution, 1 - resolution)
report = classification_report(known, predicted, labels=range(CLASSES), output_dict=True, zero_division=0)
# The macro mean is over the classes that occur, known or predicted: what scikit-learn takes when no labels are given.
occurring = classification_report(known, predicted, output_dict=True, zero_division=0)

# Guo et al. 2017, equations 2 to 5.
bins = np.clip(np.floor(confidence * BINS).astype(int), 0, BINS - 1)
inside = [bins == b for b in range(BINS)]
gaps = [abs((predicted == known)[i].mean() - confidence[i].mean()) if i.any() else 0 for i in inside]


def metrics(row):
    return {"precision": row["precision"], "recall": row["recall"], "f1": row["f1-score"]}


# As JavaScript would make them: an exact test of each pair of counts.
mcnemar = [
    [b, c, float(scipy.stats.binomtest(b, b + c, 0.5).pvalue)]
    for b, c in [(1, 0), (5, 5), (10, 3), (3, 10), (120, 80), (1700, 1500), (4000, 3000)]
]

fixture = {
    "sklearn": sklearn.__version__,
    "classes": CLASSES,
    "known": known.tolist(),
    "scores": [float(f"{score:.9g}") for score in scores.ravel()],
    "accuracy": report["accuracy"] if "accuracy" in report else float((known == predicted).mean()),
    "perClass": [metrics(report[str(c)]) | {"support": report[str(c)]["support"]} for c in range(CLASSES)],
    "macro": metrics(occurring["macro avg"]),
    "weighted": metrics(report["weighted avg"]),
    "confusion": confusion_matrix(known, predicted, labels=range(CLASSES)).tolist(),
    "logLoss": log_loss(known, y_proba=clipped, labels=range(CLASSES)),
    "logLossOfFloat32": log_loss(known, y_proba=scores, labels=range(CLASSES)),
    "calibrationError": float(sum(i.mean() * gap for i, gap in zip(inside, gaps))),
    "maxCalibrationError": float(max(gaps)),
    "binImages": [int(i.sum()) for i in inside],
    "mcnemar": mcnemar,
}
pathlib.Path(__file__).with_name("sklearn_figures.json").write_text(json.dumps(fixture) + "\n")
print({name: fixture[name] for name in ("logLoss", "logLossOfFloat32", "calibrationError", "mcnemar")})
