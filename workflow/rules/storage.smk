"""Files that lie with a storage provider, where jobs share no disk.

Without a storage provider nothing here is declared: `where_stored` returns no file.
"""


def stored_object(name):
    """Return an object of the storage by its path in the results folder."""
    prefix = (workflow.storage_settings.default_storage_prefix or "").rstrip("/")
    provider = workflow.storage_registry.default_storage_provider
    return provider.object(
        f"{prefix}/{RESULTS}/{name}" if prefix else f"{RESULTS}/{name}"
    )


def fetch_stored(names, folder):
    """Copy those files of the storage to a folder that it holds."""
    for name in names:
        stored = stored_object(name)
        if stored.exists():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            stored.set_local_path(path)
            stored.retrieve_object()


if workflow.is_main_process and STORED:
    try:
        stale = find_stale_in_storage(PLAN, fetch_stored)
    except Exception as error:
        sys.exit(
            f"unitlens: the storage cannot be read ({type(error).__name__}: {first_line(error)}); "
            "check --default-storage-prefix and the credentials"
        )
    STALE = {str(stored_object(name).local_path()): why for name, why in stale.items()}
elif workflow.is_main_process:
    for place, count in stores_elsewhere(PLAN).items():
        logger.warning(
            f"unitlens: the stores of activations of {count} networks stay {place}, not where "
            "activations.location says; to move those of a network, remove its two files "
            f"activations.json and name them: snakemake --cores all {RESULTS}/NETWORK/train/"
            f"activations.json {RESULTS}/NETWORK/test/activations.json"
        )


def where_stored(*files):
    """Return files that are declared only where jobs share no disk."""
    return list(files) if STORED else []


def kept_where_shared(file):
    """Return an output that stays for its job to look at; a storage cannot keep it (Snakemake 9)."""
    return file if STORED else update(file)


RECORDS = where_stored(*[f"{RESULTS}/{run}/checkpoint.json" for run in PLAN.runs])
PICTURES, CAPTIONS, DRAWINGS = (
    where_stored(
        *[f"{RESULTS}/figures/{figure}.{kind}" for figure in PLAN.config.figures]
    )
    for kind in ("png", "rst", "svg")
)
COMPARISON = [
    f"{RESULTS}/{file}"
    for file in where_stored("paper.json", "paper.md", "beyond.md")
    if PLAN.config.compared
]
TABLE_FOLDERS, TABLE_FILES = table_files(PLAN)
TABLES = " ".join(TABLE_FOLDERS + TABLE_FILES)
# All files of a prepared data set, whatever their names.
PREPARED = "--exclude='*.tar' --exclude='./.*' ."


def pack(written, packed, names):
    """Write the end of a command that packs what lies beside the file that it has written."""
    return f'{written} && tar --create --file {packed} --directory "$(dirname {packed})" {names}'


def unpack(packed, names=""):
    """Write a command that unpacks a tar file where it lies, to files that are newer than it."""
    return f'tar --extract --touch --file {packed} --directory "$(dirname {packed})" {names}'


def unpack_once(packed):
    """Write a command that unpacks a tar file where it lies, if no other job there has done so.

    Jobs that run on one machine at a time share the copies of the storage's files.
    """
    mark = f'"$(dirname {packed})/.unpacked"'
    unless = f"[ {mark} -nt {packed} ] || {{{{ {unpack(packed)} && touch {mark}; }}}}"
    return f"( flock 9; {unless} ) 9< {packed}"


UNPACK_TABLES = f"{unpack_once('{input.packed:q}')} && " if STORED else ""
UNPACK_PREPARED = ""
if STORED:
    of_each = unpack_once('"$packed"')
    UNPACK_PREPARED = f"for packed in {{input.prepared:q}}; do {of_each}; done && "
# What the pages of units are made from, beside the tables.
OF_UNITS = where_stored(
    *[
        f"{RESULTS}/{network}/{file}"
        for network in PLAN.runs
        if network in PLAN.summarised()
        for file in (*STORE_FILES, *NETWORK_STEPS["class_statistics"].files)
    ]
)
