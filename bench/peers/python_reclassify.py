"""Hand-tuned Python: psycopg, OpenCV, onnxruntime, numpy and binary COPY, in PROCESSES processes.

python_reclassify.py DATASET MODEL_NUMBER PROMOTION, with PGURL (postgresql://...) and MODEL (an ONNX file whose first
input takes [N, 784] and whose first output gives [N, 10] probabilities) in the environment; PROCESSES is 1 or more,
HISTORY=1 keeps the predictions that are replaced, as imagehub does.

Each process reads a range of ids with a server-side cursor, and per BATCH images decodes, classifies, copies the verdicts
into a temporary table and updates the images from it: one transaction. Prints the rate from the first row read to the
last commit, start-up not counted.
"""

import base64
import multiprocessing
import os
import sys
import time

import cv2
import numpy as np
import onnxruntime
import psycopg

BATCH = 5000
# The network is as fast at 512 as at 5000, and its input stays in the cache.
RUN = 512
THRESHOLD = 30
CLASSES = 10
FLOAT4 = 700

# One row of binary COPY behind its id: prediction, confidence, scores. Every field has its length before it.
VERDICT = np.dtype([
    ('prediction_length', '>i4'), ('prediction', '>i4'),
    ('confidence_length', '>i4'), ('confidence', '>f4'),
    ('scores_length', '>i4'), ('dimensions', '>i4'), ('nulls', '>i4'), ('type', '>i4'), ('size', '>i4'), ('first', '>i4'),
    ('scores', [('length', '>i4'), ('value', '>f4')], CLASSES),
])
HEADER = b'PGCOPY\n\xff\r\n\0' + bytes(8)
TRAILER = b'\xff\xff'


class Classifier:
    def __init__(self, path, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(path, options)
        self.input = self.session.get_inputs()[0].name
        # The first run is slow.
        self(np.zeros((RUN, 784), np.uint8))

    def __call__(self, pixels):
        """Probabilities [N, 10]."""
        parts = [
            self.session.run(None, {self.input: (pixels[start : start + RUN] > THRESHOLD).astype(np.float32)})[0]
            for start in range(0, len(pixels), RUN)
        ]
        return np.concatenate(parts)


def encode(ids, probabilities):
    """Rows of binary COPY, the fixed part of all of them made at once."""
    verdicts = np.zeros(len(ids), VERDICT)
    verdicts['prediction_length'] = 4
    verdicts['prediction'] = probabilities.argmax(axis=1)
    verdicts['confidence_length'] = 4
    verdicts['confidence'] = probabilities.max(axis=1)
    verdicts['scores_length'] = 20 + 8 * CLASSES
    verdicts['dimensions'] = 1
    verdicts['type'] = FLOAT4
    verdicts['size'] = CLASSES
    verdicts['first'] = 1
    verdicts['scores']['length'] = 4
    verdicts['scores']['value'] = probabilities
    tails = verdicts.tobytes()
    size = VERDICT.itemsize
    rows = [HEADER]
    for at, key in enumerate(ids):
        name = key.encode()
        rows.append(b'\0\4' + len(name).to_bytes(4, 'big') + name)
        rows.append(tails[at * size : (at + 1) * size])
    rows.append(TRAILER)
    return b''.join(rows)


class Table:
    def __init__(self, url, dataset, model, promotion):
        self.db = psycopg.connect(url)
        self.db.execute('create temporary table verdicts (id text, prediction int4, confidence float4, scores float4[]) on commit delete rows')
        # Left to itself the planner reads the whole table for each batch.
        self.db.execute('set enable_hashjoin = off')
        self.db.execute('set enable_mergejoin = off')
        self.db.commit()
        self.history = None
        if os.environ.get('HISTORY') == '1':
            self.history = f"""
                insert into imagehub.predictions as p (model_id, id, sha256, prediction, confidence, scores, predicted_at, source)
                select i.model_id, i.id, i.sha256, i.prediction, i.confidence, i.scores, i.predicted_at, 'superseded'
                from verdicts v join {dataset} i on i.dataset = '{dataset}' and i.id = v.id
                where i.model_id <> {model} and i.prediction >= 0
                on conflict (model_id, id) do update set sha256 = excluded.sha256, prediction = excluded.prediction,
                  confidence = excluded.confidence, scores = excluded.scores, predicted_at = excluded.predicted_at, source = excluded.source"""
        self.update = f"""
            update {dataset} i set prediction = v.prediction, confidence = v.confidence, scores = v.scores, classify_error = null,
              model_id = {model}, promotion_no = {promotion}, predicted_at = now(), classify_attempts = 0
            from verdicts v where i.dataset = '{dataset}' and i.id = v.id"""

    def write(self, rows):
        with self.db.cursor() as cursor:
            with cursor.copy('copy verdicts from stdin (format binary)') as copy:
                copy.write(rows)
            if self.history:
                cursor.execute(self.history)
            cursor.execute(self.update)
        self.db.commit()


def work(number, borders, ready, begin, times):
    url, dataset = os.environ['PGURL'], sys.argv[1]
    processes = len(borders) - 1
    classify = Classifier(os.environ['MODEL'], int(os.environ.get('THREADS', 2 if processes == 1 else 1)))
    table = Table(url, dataset, int(sys.argv[2]), int(sys.argv[3]))
    reading = psycopg.connect(url)
    ready.release()
    begin.wait()
    started = time.time()
    with reading.cursor('images', binary=True) as cursor:
        cursor.itersize = BATCH
        cursor.execute(
            f'select id, image_base64 from {dataset} where id > %s and id <= %s order by id',
            (borders[number], borders[number + 1]),
        )
        while batch := cursor.fetchmany(BATCH):
            pixels = np.empty((len(batch), 784), np.uint8)
            for at, (_, text) in enumerate(batch):
                image = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_GRAYSCALE)
                pixels[at] = image.reshape(-1)
            table.write(encode([key for key, _ in batch], classify(pixels)))
    times.put((started, time.time()))


def main():
    dataset, processes = sys.argv[1], int(os.environ.get('PROCESSES', 2))
    with psycopg.connect(os.environ['PGURL']) as db:
        count, *inner = db.execute(
            f'select count(*), ' + ', '.join(
                f'percentile_disc({i / processes}) within group (order by id)' for i in range(1, processes + 1)
            ) + f' from {dataset}'
        ).fetchone()
    borders = ['', *inner]
    context = multiprocessing.get_context('spawn')
    ready, begin, times = context.Semaphore(0), context.Event(), context.Queue()
    workers = [
        context.Process(target=work, args=(number, borders, ready, begin, times)) for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        if not ready.acquire(timeout=60):
            sys.exit(1)
    begin.set()
    for worker in workers:
        worker.join()
        if worker.exitcode != 0:
            sys.exit(1)
    spans = [times.get() for _ in workers]
    seconds = max(end for _, end in spans) - min(start for start, _ in spans)
    print(f'{count / seconds:.0f} images/s')


if __name__ == '__main__':
    main()
