"""What this machine has, and what each device would still need: `ovrun doctor`, `ovexport doctor`."""

from ovengines.doctor.facts import Fact, machine_facts
from ovengines.doctor.targets import Target, targets

__all__ = ["Fact", "Target", "machine_facts", "targets"]
