"""A server of the embedded classifier, asked over HTTP.

python examples/serve.py

On a command line: `jaxcls serve`, and then

curl http://127.0.0.1:8000/classify -H 'Content-Type: application/json' -d '{"input": ["SELECT 1;", "fn main() {}"]}'
"""

import json
import subprocess
import sys
import urllib.request

COMMAND = [sys.executable, "-m", "jaxcls.cli", "serve", "--port", "0"]

with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True) as server:
    assert server.stdout is not None
    address = server.stdout.readline().split()[-1]
    body = {"input": ["SELECT 1;", "fn main() {}"], "top_k": 2}
    request = urllib.request.Request(
        f"{address}/classify", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        for data in json.load(answer)["data"]:
            print(data["label"], data["labels"])
    server.terminate()
