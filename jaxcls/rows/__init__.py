"""Files of texts classified row by row: readers, durable outputs, resuming."""

from jaxcls.rows.errors import RowsError
from jaxcls.rows.job import Job, Progress, StoppedError, Summary, classify_rows, run, write_blocks
from jaxcls.rows.open import open_reader
from jaxcls.rows.readers import InputRow, Prompt, Selection, text_rows
from jaxcls.rows.record import Choice, Classifier, JsonFormat, OutputRow
from jaxcls.rows.sinks import Sink

__all__ = [
    "Choice",
    "Classifier",
    "InputRow",
    "Job",
    "JsonFormat",
    "OutputRow",
    "Progress",
    "Prompt",
    "RowsError",
    "Selection",
    "Sink",
    "StoppedError",
    "Summary",
    "classify_rows",
    "open_reader",
    "run",
    "text_rows",
    "write_blocks",
]
