"""What every part of the configuration shares."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A frozen section of the configuration that knows all of its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
