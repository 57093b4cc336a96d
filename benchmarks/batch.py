"""Batches of small meshes: what supervision, the manifest and safe writing cost, beside the same
work in one loop; two cores beside one; and a manifest of a million rows.

The meshes are coarse plates (some 500 nodes, VTU), the model POD and a Gaussian process on their
shapes. Start-up and the loading of the model are left out: the rate is that of the groups after the
first answer. The plain loop is pyvista.read, predict, save, one case at a time.
"""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from bars import Bar, Clock, arguments, finish, say, table

from fieldcast.meshes import Case, Prediction, Reader, Sample, read_mesh, write_sample
from fieldcast.meshes.case_reading import CaseReader, folder_cases
from fieldcast.meshes.writing import write_prediction
from fieldcast.pipelines.answering import answering, asked_settings
from fieldcast.pipelines.groups import Budget
from fieldcast.pipelines.manifest import Entry, Manifest, Outcome, Timings
from fieldcast.pipelines.predicting import Job, predict_folder
from fieldcast.pipelines.shards import Shard, merge
from fieldcast.solvers.plate import DoubleNotchedPlate, plate_cases
from fieldcast.surrogates import PodRidge, load
from fieldcast.surrogates.surrogate import Predictor

TRAIN, DISTINCT, SIZE = 24, 24, 0.09
