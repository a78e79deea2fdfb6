"""All groups of results that ours are set beside."""

from unitlens.reproduction.claims import PAPER
from unitlens.reproduction.kinds import Group
from unitlens.reproduction.later import LATER

GROUPS: dict[str, Group] = PAPER | LATER
