"""A shard that is being written, band by band."""

from pathlib import Path

from unitlens.store.encoding import ShardEncoder
from unitlens.store.files import growing_file, writing
from unitlens.store.journal import CompleteShard
from unitlens.store.layout import StoredArray
from unitlens.store.shards import ShardDescription, Values


class GrowingShard:
    """One shard of a store: its file grows, and is described, while its rows come.

    Parameters
    ----------
    path
        The store.
    array, shard
        An array of it, and the number of the shard.
    codec
        Of :data:`unitlens.store.codecs.CODECS`.
    """

    def __init__(self, path: Path, array: StoredArray, shard: int, codec: str) -> None:
        self._what = f"the shard '{array.key(shard)}' of {path}"
        self._file = growing_file(path / array.key(shard))
        self._encoder = ShardEncoder(array, codec)
        self._description = ShardDescription(array, shard)

    def add(self, number: int, values: Values) -> None:
        """Write the next rows: those of band `number`.

        Raises
        ------
        StoreError
            Where the system refuses to write.
        """
        with writing(self._what):
            self._file.append(self._encoder.encode(number, values))
        self._description.add(values)

    def finish(self) -> CompleteShard:
        """Give the file its name, and return what the journal says of the shard."""
        with writing(self._what):
            self._file.append(self._encoder.index())
            self._file.finish()
        return self._description.complete(self._file.size)

    def discard(self) -> None:
        """Give the file up."""
        self._file.discard()
