"""PySpark Structured Streaming: Kafka source, pandas UDF with OpenCV and onnxruntime, JDBC into a staging table, upsert.

spark_stream.py TOPIC N, with KAFKA (brokers), PGURL (postgresql://...), MODEL (an ONNX file whose first input takes [N, 784]
and whose first output gives [N, 10] probabilities) and JARS (a folder with spark-sql-kafka, spark-token-provider-kafka,
kafka-clients, commons-pool2 and the Postgres driver) in the environment; SPARK_LOCAL_IP and PYSPARK_PYTHON are Spark's own.

At least once: Spark notes in its checkpoint that a micro-batch is done after its rows are committed, and a message that
comes again replaces its row. Prints the rate from the first micro-batch to the last commit.
"""

import base64
import glob
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import pandas as pd
import psycopg
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import BinaryType, FloatType, IntegerType, StringType, StructType

IMAGES_PER_TRIGGER = 20_000
IMAGES_PER_CALL = 2000
THRESHOLD = 30
TABLE = 'peer_spark'
STAGING = 'peer_spark_incoming'
CLASSIFIED = (
    StructType()
    .add('image_base64', StringType())
    .add('image_pgm', BinaryType())
    .add('prediction', IntegerType())
    .add('confidence', FloatType())
)
COLUMNS = ['id', 'image_base64', 'image_pgm', 'prediction', 'known_label', 'confidence']


@F.pandas_udf(CLASSIFIED)
def classify(batches: Iterator[pd.Series]) -> Iterator[pd.DataFrame]:
    """Loads the network once per task."""
    import cv2
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    network = onnxruntime.InferenceSession(os.environ['MODEL'], options)
    name = network.get_inputs()[0].name
    for values in batches:
        images = [cv2.imdecode(np.frombuffer(value, np.uint8), cv2.IMREAD_GRAYSCALE) for value in values]
        pixels = np.stack(images).reshape(len(images), -1)
        [probabilities] = network.run(None, {name: (pixels > THRESHOLD).astype(np.float32)})
        yield pd.DataFrame({
            'image_base64': [base64.b64encode(value).decode('ascii') for value in values],
            'image_pgm': [b'P5\n%d %d\n255\n' % image.shape[::-1] + image.tobytes() for image in images],
            'prediction': probabilities.argmax(axis=1).astype('int32'),
            'confidence': probabilities.max(axis=1),
        })


class Table:
    """Where micro-batches go. `done` is set when `count` images are in."""

    def __init__(self, url, count):
        self.left, self.began, self.ended, self.done = count, None, None, threading.Event()
        self.db = psycopg.connect(url, autocommit=True)
        # A micro-batch is sorted in memory.
        self.db.execute("set work_mem = '64MB'")
        shape = (
            'id text {}, image_base64 text not null, image_pgm bytea not null,'
            ' prediction int not null default -1, known_label int, confidence real'
        )
        self.db.execute(f'drop table if exists {TABLE}, {STAGING}')
        self.db.execute(f'create table {TABLE} ({shape.format("primary key")})')
        self.db.execute(f'create unlogged table {STAGING} ({shape.format("not null")}, "offset" bigint not null)')
        names = ', '.join(COLUMNS)
        changes = ', '.join(f'{name} = excluded.{name}' for name in COLUMNS[1:])
        # Images with one id come from one partition: the higher offset is the newer.
        self.merge = (
            f'insert into {TABLE} ({names}) select distinct on (id) {names} from {STAGING}'
            f' order by id, "offset" desc on conflict (id) do update set {changes}'
        )
        place = urlsplit(url)
        self.jdbc = {
            'url': f'jdbc:postgresql://{place.hostname}:{place.port}{place.path}?reWriteBatchedInserts=true',
            'user': unquote(place.username),
            'password': unquote(place.password),
            'driver': 'org.postgresql.Driver',
            'dbtable': STAGING,
            'batchsize': str(IMAGES_PER_CALL),
            'truncate': 'true',
        }

    def upsert(self, batch, _number):
        self.began = self.began or time.perf_counter()
        batch.write.format('jdbc').options(**self.jdbc).mode('overwrite').save()
        [(taken,)] = self.db.execute(f'select count(*) from {STAGING}').fetchall()
        self.db.execute(self.merge)
        self.left -= taken
        if self.left <= 0:
            self.ended = time.perf_counter()
            self.done.set()


def main(topic, count):
    table = Table(os.environ['PGURL'], count)
    spark = (
        SparkSession.builder.master('local[2]')
        .config('spark.jars', ','.join(glob.glob(os.path.join(os.environ['JARS'], '*.jar'))))
        .config('spark.driver.memory', '4g')
        .config('spark.ui.enabled', 'false')
        .config('spark.sql.execution.arrow.maxRecordsPerBatch', str(IMAGES_PER_CALL))
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel('ERROR')
    messages = (
        spark.readStream.format('kafka')
        .option('kafka.bootstrap.servers', os.environ['KAFKA'])
        .option('subscribe', topic)
        .option('startingOffsets', 'earliest')
        .option('includeHeaders', 'true')
        .option('maxOffsetsPerTrigger', IMAGES_PER_TRIGGER)
        .load()
    )
    label = F.filter('headers', lambda header: header['key'] == 'known-label')[0]['value']
    rows = messages.select(
        F.col('key').cast('string').alias('id'),
        label.cast('string').cast('int').alias('known_label'),
        'offset',
        classify('value').alias('classified'),
    ).select('classified.*', 'id', 'known_label', 'offset')
    with tempfile.TemporaryDirectory() as checkpoint:
        query = rows.writeStream.foreachBatch(table.upsert).option('checkpointLocation', checkpoint).start()
        while not table.done.wait(timeout=1):
            if not query.isActive:
                raise query.exception()
        query.stop()
    print(f'{count / (table.ended - table.began):.0f} images/s', flush=True)
    spark.stop()


main(sys.argv[1], int(sys.argv[2]))
