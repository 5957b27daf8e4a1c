#!/usr/bin/env bash
# TensorBoard's HParams tab: of several runs written with add_hparams, one decides the columns; what only others have is left out silently.
#
# Versions: tensorboard 2.20.0, tensorboardX 2.6.4, protobuf 6.31.1, numpy 2.2.6; Python 3.11
# Expected by most: a column for each hyper-parameter and metric that any run in the log directory has, empty where a run lacks it.
# Seen: tensorboardX's add_hparams writes an experiment summary, a list of columns, to each run. TensorBoard takes the first that it finds.
#   Without such summaries it forms the union of what the runs have. One run with a summary hides the columns of all runs without.
#     a summary in each run:   clip,lr,mappo_loss,return   0.2,0.0005,3.0,2.0   "",0.001,"",1.0
#     a summary in none:       clip,epsilon,lr,mappo_loss,return,vdn_loss
#     a summary in vdn only:   epsilon,lr,return,vdn_loss
#   Rows still hold hyper-parameters without a column, but not such metrics; the table that the tab offers to download has neither.
# Why it matters: algorithms are compared in one log directory, and differ in their hyper-parameters. All but one show empty cells or none
#   for what sets them apart, and the tab cannot sort or filter by it. One run of another library can hide the columns of all others.
#   Write the session's summaries alone, or the same list of all columns into every run.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "tensorboard==2.20.0" "tensorboardX==2.6.4" "protobuf==6.31.1" "numpy==2.2.6"
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import csv
import io

from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, download_data, get_experiment, list_session_groups
from tensorboard.plugins.hparams.backend_context import Context
from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

RUNS = {
    "mappo": ({"clip": 0.2, "lr": 0.0005}, {"return": 2.0, "mappo_loss": 3.0}),
    "vdn": ({"epsilon": 0.05, "lr": 0.001}, {"return": 1.0, "vdn_loss": 4.0}),
}


def write(folder, with_experiment):
    for name, (parameters, metrics) in RUNS.items():
        with SummaryWriter(f"{folder}/{name}") as writer:
            if name in with_experiment:
                writer.add_hparams(parameters, metrics, name="session", global_step=0)
                continue
            for summary in hparams(parameters, metrics)[1:]:  # start and end of the session, without the experiment
                writer.file_writer.add_summary(summary)
            for tag, value in metrics.items():
                writer.add_scalar(tag, value, 0)


def table(folder):
    """The columns, sorted, and the rows by them, of the table that the tab shows and offers to download."""
    buffers = EventMultiplexer().AddRunsFromDirectory(folder)
    buffers.Reload()
    arguments = RequestContext(), Context(TBContext(data_provider=MultiplexerDataProvider(buffers, folder))), ""
    request = api_pb2.ListSessionGroupsRequest(slice_size=10, allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_UNKNOWN])
    experiment = get_experiment.Handler(*arguments, api_pb2.GetExperimentRequest()).run()
    groups = list_session_groups.Handler(*arguments, request).run()
    text, _ = download_data.Handler(arguments[1], experiment, groups, "csv", [True] * 99).run()
    rows = list(csv.DictReader(io.StringIO(text)))
    return sorted(rows[0]), [[row[column] for column in sorted(row)] for row in rows]


of_run = {name: sorted([*parameters, *metrics]) for name, (parameters, metrics) in RUNS.items()}
union = sorted({*of_run["mappo"], *of_run["vdn"]})
seen = {}
for case, names in {"each run": RUNS, "none": (), "vdn only": ("vdn",)}.items():
    write(case, names)
    seen[case], rows = table(case)
    print(f"a summary in {case}:".ljust(25), ",".join(seen[case]), "  rows", rows)
    assert len(rows) == 2
assert seen["each run"] != union, "the columns are now those of all experiment summaries"
assert seen["each run"] in of_run.values(), "the columns are no longer those of one run"  # which one: the first that is found
assert seen["none"] == union, "without experiment summaries the columns are no longer the union"
assert seen["vdn only"] == of_run["vdn"], "a run without an experiment summary has columns beside one that has"
PY
