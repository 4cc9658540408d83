"""Photos to a network's input, or to its answer, as a Python programmer would: Pillow or OpenCV, numpy, onnxruntime.

python_photos.py preprocess|score FOLDER MODEL SIDE CORES: takes all files of FOLDER, which are read beforehand, in batches of
64 (through the network in eights) through a pool of threads (Pillow, OpenCV and onnxruntime let go of the interpreter's lock) and one of processes, CORES of
each with a session of one thread. Prints a line of JSON for each: name, photos/s, and the classes that came out; two batches
for each worker, that do not count, warm up.
"""

import io
import json
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from PIL import Image

BATCH_IMAGES = 64
# The fastest of 1, 4, 8, 16, 32 and 64, as in ours.
RUN_IMAGES = 8
MEAN = np.float32(127)
DEVIATION = np.float32(128)


def with_pillow(encoded, side):
    image = Image.open(io.BytesIO(encoded)).convert('RGB').resize((side, side), Image.BICUBIC)
    return np.asarray(image)


def with_opencv(encoded, side):
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)


LIBRARIES = {'Pillow': with_pillow, 'OpenCV': with_opencv}
local = threading.local()


def preprocess(library, batch, side):
    """[N, 3, side, side] float32."""
    decode = LIBRARIES[library]
    tensor = np.empty((len(batch), 3, side, side), np.float32)
    for row, encoded in zip(tensor, batch):
        np.subtract(decode(encoded, side).transpose(2, 0, 1), MEAN, out=row)
    tensor /= DEVIATION
    return tensor


def work(task):
    stage, library, model, side, batch = task
    cv2.setNumThreads(1)
    tensor = preprocess(library, batch, side)
    if stage == 'preprocess':
        return [0] * len(batch)
    if not hasattr(local, 'session'):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        local.session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])
    classes = []
    for at in range(0, len(tensor), RUN_IMAGES):
        (logits,) = local.session.run(['logits'], {'input': tensor[at : at + RUN_IMAGES]})
        classes += logits.argmax(axis=1).tolist()
    return classes


def measure(name, pool, cores, tasks):
    with pool:
        # One after the other, and more than once, so that each worker has had one.
        list(pool.map(work, tasks[:1] * cores * 2))
        began = time.perf_counter()
        classes = [value for values in pool.map(work, tasks) for value in values]
        seconds = time.perf_counter() - began
    print(json.dumps({'name': name, 'rate': round(len(classes) / seconds), 'classes': classes}), flush=True)


def main(stage, folder, model, side, cores):
    photos = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    batches = [photos[at : at + BATCH_IMAGES] for at in range(0, len(photos), BATCH_IMAGES)]
    for library in LIBRARIES:
        tasks = [(stage, library, model, side, batch) for batch in batches]
        measure(f'{library}, threads', ThreadPoolExecutor(cores), cores, tasks)
        measure(f'{library}, processes', ProcessPoolExecutor(cores), cores, tasks)


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
