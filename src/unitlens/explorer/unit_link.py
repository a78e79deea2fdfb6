"""Names of a unit as text: the query of the explorer's address, a word of a command line."""

from urllib.parse import parse_qs, urlencode

from unitlens.errors import ArgumentError, shown
from unitlens.explorer.unit_columns import UnitName


def link_to_unit(unit: UnitName) -> str:
    """Return the query that names a unit.

    Parameters
    ----------
    unit
        Name of the unit.

    Examples
    --------
    >>> link_to_unit(UnitName("mlp-seed1", "relu1", 7))
    '?run=mlp-seed1&layer=relu1&channel=7'
    """
    return "?" + urlencode({"run": unit.run, "layer": unit.layer, "channel": unit.channel})


def unit_of_link(query: str) -> UnitName | None:
    """Return the unit that a query names, or nothing where the query names none.

    Parameters
    ----------
    query
        The query of an address, with its question mark.

    Examples
    --------
    >>> unit_of_link("?run=mlp-seed1&layer=relu1&channel=7")
    UnitName(run='mlp-seed1', layer='relu1', channel=7)
    >>> unit_of_link("?theme=dark")
    """
    found = parse_qs(query.removeprefix("?"))
    if not {"run", "layer", "channel"} <= found.keys():
        return None
    channel = found["channel"][0]
    # A channel that is no number names no unit: the table says so.
    number = int(channel) if channel.isascii() and channel.isdigit() else -1
    return UnitName(found["run"][0], found["layer"][0], number)


def unit_of_words(words: str) -> UnitName:
    """Return the unit that a command line names.

    Parameters
    ----------
    words
        Run, layer and channel of the unit with slashes between them. The name of a layer may have
        slashes itself.

    Raises
    ------
    ArgumentError
        Where these are not three parts, or the last part is no number.

    Examples
    --------
    >>> unit_of_words("mlp-seed1/relu1/7")
    UnitName(run='mlp-seed1', layer='relu1', channel=7)
    """
    run, _, rest = words.partition("/")
    layer, _, channel = rest.rpartition("/")
    if not (run and layer and channel.isascii() and channel.isdigit()):
        raise ArgumentError(
            f"unit = {shown(words)}: must be RUN/LAYER/CHANNEL, such as mlp-seed1/relu1/7; "
            "results.units in Python, or the overview of the explorer, names all units"
        )
    return UnitName(run, layer, int(channel))
