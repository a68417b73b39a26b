"""The embedded demo: generated tasks with a planted truth."""

from gradts_plugin.demo.tasks import DemoTruth, write_demo_tasks

__all__ = ["DemoTruth", "write_demo_tasks"]
