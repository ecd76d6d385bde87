"""What the stand-ins for Pulumi's language hosts have in common: they write SDKs, and are served alike.

Run by the engine as `python -m local_cloud.plugins.language_host go|nodejs <engine address>`: of these languages SDKs
are all there is, and their programs do not run.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

from local_cloud.plugins.lifetime import end_with_parent
from tools import locate

_LARGEST_MESSAGE = 400 * 1024 * 1024  # bytes; what the SDK's own servers allow


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """Writes SDKs in one language for one engine."""

    language: str
    """The engine's name of it: `go`, `nodejs` or `python`."""

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: ANN401, ARG002, N802  # the protocol's names
        """Accept whoever asks."""
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: ANN401, ARG002, N802  # the protocol's names
        """Tell no version: it goes with this checkout."""
        return plugin_pb2.PluginInfo()

    def GeneratePackage(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802  # the protocol's names
        """Write the SDK of a package, with Pulumi's own generator."""
        command = [str(locate("package-sdk")), self.language, request.directory, request.loader_target]
        done = subprocess.run(command, input=request.schema, check=False, capture_output=True, text=True)
        if done.returncode:
            context.abort(grpc.StatusCode.INTERNAL, done.stderr.strip())
        return language_pb2.GeneratePackageResponse()

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: ANN401, ARG002, N802  # the protocol's names
        """Do nothing: the engine ends this process."""
        return Empty()


def serve(host: LanguageHost) -> None:
    """Serve until the engine ends; prints the port, as plugins do."""
    end_with_parent()
    server = grpc.server(
        ThreadPoolExecutor(max_workers=8),
        options=[("grpc.max_receive_message_length", _LARGEST_MESSAGE)],
    )
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)  # noqa: T201  # the protocol
    with suppress(KeyboardInterrupt):  # how the engine says that it is done
        server.wait_for_termination()
    server.stop(None)


if __name__ == "__main__":
    host = LanguageHost()
    host.language = sys.argv[1]
    serve(host)
