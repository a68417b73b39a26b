"""The embedded demo: generated tasks with a planted truth, and how to run them."""

from gradts_plugin.demo.run import run_file_values
from gradts_plugin.demo.tasks import DemoTruth, write_demo_tasks

__all__ = ["DemoTruth", "run_file_values", "write_demo_tasks"]
