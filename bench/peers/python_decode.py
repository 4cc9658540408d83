"""OpenCV on all cores: every image of a folder decoded to pixels, as a Python programmer would.

python_decode.py FOLDER PASSES: decodes all files of FOLDER, PASSES times, with a pool of threads (cv2.imdecode lets
go of the interpreter's lock) and with a pool of processes (which get the files' bytes and keep the pixels, as whoever
goes on working with them would have to be there too). Prints `threads N images/s P pixels` and the same for
`processes`; a first pass, that does not count, warms up.
"""

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

# One task a batch, as single images would wait for the pool more than for OpenCV.
BATCH_IMAGES = 2000
BATCH_BYTES = 16 * 1024 * 1024


def decode(batch):
    """Decodes a batch, one image after the other. Returns how many pixels there were."""
    pixels = 0
    for encoded in batch:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
        pixels += image.shape[0] * image.shape[1]
    return pixels


def batches_of(images):
    batch, size = [], 0
    for image in images:
        if batch and (len(batch) == BATCH_IMAGES or size + len(image) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(image)
        size += len(image)
    yield batch


def measure(name, pool, images, passes):
    batches = list(batches_of(images))
    with pool:
        list(pool.map(decode, batches))
        began = time.perf_counter()
        pixels = sum(pool.map(decode, batches * passes))
        seconds = time.perf_counter() - began
    print(f'{name} {len(images) * passes / seconds:.0f} images/s {pixels // passes} pixels')


def main(folder, passes):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    cv2.setNumThreads(1)
    images = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    measure('threads', ThreadPoolExecutor(cores), images, passes)
    measure('processes', ProcessPoolExecutor(cores), images, passes)


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]))
