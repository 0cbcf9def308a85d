"""What users and operators do at the Express site of docs/tutorial-any-backend.md."""

import json
import re

_ORDER = """
for request in 'login {"customer": "7"}' 'orders %s'; do
    curl -sS -c jar -b jar -o answer -H 'Content-Type: application/json' \\
        -d "${request#* }" "http://127.0.0.1:3000/${request%%%% *}"
done
"""


def order(reader, item):
    """Customer 7 orders this."""
    reader.run(_ORDER % json.dumps({"item": item}))


def metric(reader, name):
    """A metric of the gateway."""
    text = reader.run("curl -sS http://127.0.0.1:8002/metrics")
    return int(re.search(rf"^high_templar_{name}(?:\{{.*\}})? (\d+)$", text, re.M)[1])
