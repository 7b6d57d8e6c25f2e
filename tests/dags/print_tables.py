"""Print tables of a lake as JSON, with their versions and rows by as-of, exact to the last bit. Runs in .venv.

python tests/dags/print_tables.py LAKE TABLE ...
"""

from __future__ import annotations

import json
import sys
from typing import Any

from churn.runtime.session import session
from churn.storage import Lake

spark = session("print_tables", lean=True)
lake = Lake(spark, sys.argv[1])
tables: dict[str, Any] = {}
for table in sys.argv[2:]:
    rows: dict[str, list[str]] = {}
    for row in lake.read(table).collect():
        values = row.asDict(recursive=True)
        rows.setdefault(str(values.get("as_of"))[:10], []).append(repr(values))  # the repr of a float has all its bits
    tables[table] = {"version": lake.version(table), "rows": {as_of: sorted(of) for as_of, of in rows.items()}}
print(json.dumps(tables))
spark.stop()
