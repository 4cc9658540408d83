"""Hand-tuned Python: confluent-kafka, OpenCV, onnxruntime and binary COPY, in one process.

python_stream.py TOPIC N, with KAFKA (brokers), PGURL (postgresql://...) and MODEL (an ONNX file whose first input takes
[N, 784] and whose first output gives [N, 10] probabilities) in the environment.

Takes whatever waits in the consumer's queue, at most BATCH messages: full batches when it is behind, small ones when
little comes. At least once: the offset is committed to Kafka when its rows are committed in Postgres, and a message that
comes again replaces its row. Prints the rate from the first batch to the last commit.
"""

import base64
import os
import sys
import time

import cv2
import numpy as np
import onnxruntime
import psycopg
from confluent_kafka import Consumer

BATCH = 2000
PATIENCE_S = 1.0
THRESHOLD = 30
TABLE = 'peer_python'
COLUMNS = {
    'id': 'text',
    'image_base64': 'text',
    'image_pgm': 'bytea',
    'prediction': 'int4',
    'known_label': 'int4',
    'confidence': 'float4',
}


class Classifier:
    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        # The other core has Postgres and Kafka to serve.
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options)
        self.input = self.session.get_inputs()[0].name

    def __call__(self, images):
        """The most probable class of each 28 x 28 image, and its probability."""
        pixels = np.stack(images).reshape(len(images), -1)
        [probabilities] = self.session.run(None, {self.input: (pixels > THRESHOLD).astype(np.float32)})
        return probabilities.argmax(axis=1).tolist(), probabilities.max(axis=1).tolist()


class Table:
    def __init__(self, url):
        self.db = psycopg.connect(url)
        self.db.execute(f'drop table if exists {TABLE}')
        self.db.execute(
            f'create table {TABLE} (id text primary key, image_base64 text not null, image_pgm bytea not null,'
            ' prediction int not null default -1, known_label int, confidence real)'
        )
        self.db.execute(f'create temporary table incoming (like {TABLE})')
        self.db.commit()
        names = ', '.join(COLUMNS)
        changes = ', '.join(f'{name} = excluded.{name}' for name in COLUMNS if name != 'id')
        self.copy = f'copy incoming ({names}) from stdin (format binary)'
        self.merge = (
            f'insert into {TABLE} ({names}) select {names} from incoming on conflict (id) do update set {changes}'
        )

    def upsert(self, rows):
        with self.db.cursor() as cursor:
            cursor.execute('truncate incoming')
            with cursor.copy(self.copy) as copy:
                copy.set_types(list(COLUMNS.values()))
                for row in rows:
                    copy.write_row(row)
            cursor.execute(self.merge)
        self.db.commit()


def known_label(message):
    for name, value in message.headers() or ():
        if name == 'known-label':
            return int(value)
    return None


def pgm(image):
    height, width = image.shape
    return b'P5\n%d %d\n255\n' % (width, height) + image.tobytes()


def rows_of(messages, classify):
    """One row per id, the newest."""
    values = [message.value() for message in messages]
    images = [cv2.imdecode(np.frombuffer(value, np.uint8), cv2.IMREAD_GRAYSCALE) for value in values]
    rows = {}
    for message, value, image, prediction, confidence in zip(messages, values, images, *classify(images)):
        key = message.key().decode()
        text = base64.b64encode(value).decode('ascii')
        rows[key] = (key, text, pgm(image), prediction, known_label(message), confidence)
    return rows.values()


def take(consumer):
    """What waits, without waiting for more than one message."""
    first = consumer.poll(PATIENCE_S)
    messages = [first, *consumer.consume(BATCH - 1, timeout=0)] if first else []
    return [message for message in messages if not message.error()]


def main(topic, count):
    table = Table(os.environ['PGURL'])
    classify = Classifier(os.environ['MODEL'])
    consumer = Consumer({
        'bootstrap.servers': os.environ['KAFKA'],
        'group.id': f'peer-python-{time.time_ns()}',
        'auto.offset.reset': 'earliest',
        'enable.auto.commit': False,
        'fetch.max.bytes': 16 * 1024 * 1024,
    })
    consumer.subscribe([topic])
    done, began = 0, None
    while done < count:
        messages = take(consumer)
        if not messages:
            continue
        began = began or time.perf_counter()
        table.upsert(rows_of(messages, classify))
        consumer.commit(asynchronous=False)
        done += len(messages)
    print(f'{done / (time.perf_counter() - began):.0f} images/s')
    consumer.close()


main(sys.argv[1], int(sys.argv[2]))
