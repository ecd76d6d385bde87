"""The two controllers a namespace cannot do without: it gets a default service account, and it can end."""

import json
import logging
import threading
from typing import Any

import httpx

from local_cloud.kubernetes_client import KubernetesClient

_LOG = logging.getLogger(__name__)
_PAUSE = 0.5  # seconds before a broken watch is taken up again


class NamespaceController:
    """Does for one API server's namespaces what the controller manager, which is not there, would do.

    Without it, a namespace that is deleted stays Terminating for ever, and so does whoever waits for its end.
    """

    def __init__(self, client: KubernetesClient) -> None:
        self._client = client
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="namespaces", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Let the watch end with the API server."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                for line in self._client.watch("/api/v1/namespaces"):
                    event = json.loads(line)
                    if event["type"] in {"ADDED", "MODIFIED"}:
                        self._settle(event["object"])
            except httpx.HTTPError as error:
                if not self._stopped.is_set():
                    _LOG.warning("watching namespaces: %s", error)
            self._stopped.wait(_PAUSE)
        self._client.close()

    def _settle(self, namespace: dict[str, Any]) -> None:
        name = namespace["metadata"]["name"]
        if "deletionTimestamp" not in namespace["metadata"]:
            account = {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": "default", "namespace": name},
            }
            self._client.apply(account, manager="service-account-controller", force=True)
        elif namespace["spec"].get("finalizers"):
            self._client.delete_all_in(name)
            self._client.finalize_namespace({**namespace, "spec": {**namespace["spec"], "finalizers": []}})
