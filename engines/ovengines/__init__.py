"""BUNDLE -> ENGINE: opens bundles and runs their graphs on this machine. Knows nothing of images or text."""

from ovengines.bundle.reader import Bundle, open_bundle
from ovengines.devices import DEVICE_NAMES, check_device, open_engine
from ovengines.engine import Engine, KVCache
from ovengines.errors import ExitCode, OVError

__all__ = [
    "DEVICE_NAMES",
    "Bundle",
    "Engine",
    "ExitCode",
    "KVCache",
    "OVError",
    "check_device",
    "open_bundle",
    "open_engine",
]
