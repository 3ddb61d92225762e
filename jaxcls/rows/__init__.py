"""Files of rows scored row by row: readers, durable outputs, resuming."""

from jaxcls.rows.columns import (
    MESSAGES,
    NUMBERS,
    RANKING,
    TEXT,
    TEXTS,
    Column,
    InputRow,
    Keep,
    Kind,
    Selection,
    text_columns,
)
from jaxcls.rows.errors import RowsError
from jaxcls.rows.job import Job, Progress, StoppedError, Summary, run, score_rows, write_blocks
from jaxcls.rows.open import open_reader
from jaxcls.rows.readers import text_rows
from jaxcls.rows.record import JsonFormat, OutputRow
from jaxcls.rows.results import Field, Results, Scorer
from jaxcls.rows.sinks import Sink

__all__ = [
    "MESSAGES",
    "NUMBERS",
    "RANKING",
    "TEXT",
    "TEXTS",
    "Column",
    "Field",
    "InputRow",
    "Job",
    "JsonFormat",
    "Keep",
    "Kind",
    "OutputRow",
    "Progress",
    "Results",
    "RowsError",
    "Scorer",
    "Selection",
    "Sink",
    "StoppedError",
    "Summary",
    "open_reader",
    "run",
    "score_rows",
    "text_columns",
    "text_rows",
    "write_blocks",
]
