# What the files of rules share - the checked settings, what the study consists of, what its jobs ask
# for, and how rules ask these. Jobs are described elsewhere.

import shutil
from dataclasses import asdict

from snakemake.exceptions import WorkflowError

from modeledit.data.readers import OWN, load_requests
from modeledit.data.record_files import RequestError, UserFiles
from modeledit.io.provenance import code_digest
from modeledit.planning.resources import EDIT_MINUTES, PASSING_MINUTES, JobResources
from modeledit.presentation.contents import Contents
from modeledit.study import layout
from modeledit.study.command_line import retype
from modeledit.study.config import ConfigError, check_files, load_settings
from modeledit.study.inventory import Inventory
from modeledit.study.methods import METHODS
from modeledit.study.precedence import Precedence

retype(config, workflow.config_settings.config)
USER_FILES = UserFiles()
try:
    check_files(workflow.configfiles)
    SETTINGS = load_settings(config, PROJECT, USER_FILES.count)
    # Written by hand: all that is wrong is said, once, before anything runs.
    if SETTINGS.config.facts and workflow.is_main_process:
        load_requests(PROJECT / SETTINGS.config.facts.path, OWN)
except (ConfigError, RequestError) as error:
    raise WorkflowError(f"The configuration cannot be run.\n{error}")

# Files of the project by their paths in it; absolute ones where it is run from another folder.
ELSEWHERE = "" if PROJECT.samefile(Path.cwd()) else f"{PROJECT}/"
CONFIG, SWITCHES = SETTINGS.config, SETTINGS.switches
STUDY = Inventory(SETTINGS, ELSEWHERE)
FILES, CONTENTS = STUDY.files, Contents(STUDY)
if STUDY.nothing_to_show():
    raise WorkflowError(
        f"{FILES.results}: nothing to show yet, neither metrics.csv nor scores of the unedited model"
        " and of an iteration; come again when a run of the study is further, or bring its files"
    )
RESOURCES = JobResources(SETTINGS, has_driver=shutil.which("nvidia-smi") is not None)
COMPUTE = RESOURCES.compute
PRECEDENCE = Precedence(SETTINGS)


wildcard_constraints:
    dataset="|".join(
        sorted({chain.dataset for chain in SETTINGS.chains} | set(CONFIG.datasets))
    ),
    model="|".join(re.escape(name) for name in sorted(SETTINGS.models)),
    method="|".join(sorted({chain.method for chain in SETTINGS.chains})),
    trial=r"[1-9]\d*",
    k=r"[1-9]\d*",
    batch=r"[1-9]\d*",
    size=r"[1-9]\d*",
    table=r"[a-z_]+",
    algorithm="|".join(
        sorted({METHODS[chain.method].algorithm for chain in SETTINGS.chains})
    ),


def one_of(names):
    """A wildcard's constraint: one of `names`, or nothing at all where there are none."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


def asked(method, *names):
    """Input function: `method` of the wildcards that are named."""

    def answer(wildcards):
        return method(*(getattr(wildcards, name) for name in names))

    return answer


def megabytes(method, *names):
    """Resource function: `method` of the wildcards that are named, at this attempt."""

    def answer(wildcards, attempt):
        return method(*(getattr(wildcards, name) for name in names), attempt)

    return answer


def minutes(count):
    """Resource function: `count` minutes at the first attempt, as much again at each further one."""

    def answer(wildcards, attempt):
        return count * attempt

    return answer


def token_budget(wildcards, attempt):
    """Tokens that run through a model at once."""
    return RESOURCES.token_budget(attempt)


def project(path):
    """A file of the project that a job reads."""
    return ELSEWHERE + path


def templates(*names):
    """Templates that a job fills in; what is edited there is rendered anew."""
    return [project(f"modeledit/presentation/templates/{name}") for name in names]


def code_of(script, *packages):
    """A digest of a script and of packages that it calls, for jobs without a model: new code, new results."""
    return code_digest(PROJECT, script, packages)
