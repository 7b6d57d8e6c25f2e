"""Run by the jobs' Python: tables of a lake as JSON, with their versions and rows by as-of, exact to the last bit.

python tests/dags/content.py LAKE TABLE ...
"""

from __future__ import annotations

import json
import sys
from typing import Any

from churn.runtime.session import session
from churn.storage import Lake

spark = session("content", lean=True)
lake = Lake(spark, sys.argv[1])
found: dict[str, Any] = {}
for table in sys.argv[2:]:
    rows: dict[str, list[str]] = {}
    for row in lake.read(table).collect():
        said = row.asDict(recursive=True)
        rows.setdefault(str(said.get("as_of"))[:10], []).append(repr(said))  # the repr of a float says all its bits
    found[table] = {"version": lake.version(table), "rows": {as_of: sorted(of) for as_of, of in rows.items()}}
print(json.dumps(found))
spark.stop()
