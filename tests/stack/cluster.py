"""As much of the API of Kubernetes as tells which pod has which address."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from builders import serving


def pod(address, component=None, **annotations):
    """Return a pod as the API would; users' annotations are those that KubeSpawner makes."""
    name = f"pod-{address.rpartition('.')[2]}"
    labels = {"component": component} if component else {}
    metadata = {"name": name, "namespace": "jupyter", "uid": f"uid-of-{name}", "labels": labels}
    metadata["annotations"] = {f"hub.jupyter.org/{key}": value for key, value in annotations.items()}
    metadata["creationTimestamp"] = "2026-01-01T00:00:00Z"
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "startTime": "2026-01-01T00:00:00Z"}
    return {"metadata": metadata, "spec": {"nodeName": "node", "containers": []}, "status": status}


@contextmanager
def serving_pods(*pods):
    """Serve an API whose cluster has these pods, and nothing else; nothing in it ever changes."""
    ended = threading.Event()

    class API(BaseHTTPRequestHandler):
        def do_GET(self):
            url = urlsplit(self.path)
            query = parse_qs(url.query)
            if "sendInitialEvents" in query:
                return self.answer({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 422}, 422)
            if "watch" in query:
                ended.wait(60)
                return self.answer({})
            kind = url.path.rpartition("/")[2]
            items = list(pods) if kind == "pods" else []
            return self.answer(
                {
                    "kind": f"{kind[:-1].capitalize()}List",
                    "apiVersion": "apps/v1" if "/apis/apps/" in url.path else "v1",
                    "metadata": {"resourceVersion": "1"},
                    "items": items,
                }
            )

        def answer(self, value, status=200):
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with serving(API) as server:
        try:
            yield server.url
        finally:
            ended.set()
