"""A plugin's life: it ends with the engine that started it, also when the engine is killed in the middle of a wait."""

import os
import threading
import time

_LOOK_SECONDS = 0.5


def end_with_parent() -> None:
    """Watch the parent process from a thread and leave at once when it is gone."""
    engine = os.getppid()

    def watch() -> None:
        while os.getppid() == engine:
            time.sleep(_LOOK_SECONDS)
        os._exit(1)  # a worker thread may be in the middle of a request that would take minutes

    threading.Thread(target=watch, daemon=True).start()
