"""The same ServerApp and ClientApp on Flower's own SuperLink and SuperNodes (protocol 12.4).

On our side: the strategy over ``BidiGrid``, each partner in its persistent training process.
On Flower's: SuperLink, four SuperNodes, a new process for every message. Both start from
copies of the same directories, so every word that leaves a node must be the same.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from numpy.random import Generator  # noqa: TID251 - the type of the tests' generator

from consortium import optimizer
from consortium.documents import parse_document
from consortium.features.bins import Bins, parse_bins
from consortium.ids import PartnerId
from consortium.plan import ReleaseKind, TrainingPlan
from coordinator.flower_grid import BidiGrid, run_app
from coordinator.rounds import RunState
from models import scorecard
from models.document import parse_model_document, version_of
from models.spec import spec_of
from partner_node import ingest, wiring
from partner_node.storage import Disclosure
from partner_node.worker import Worker
from tests.partner_directories import Directories, build
from tests.slow.stock_app.riskweave_stock.server import server_app
