"""Checkpoints on the Hugging Face Hub: `hf:org/name@revision`, by `huggingface_hub` (the extra `hub`).

The files of FILES alone are fetched, by their names, and only what is whole gets into the cache, which is
huggingface_hub's own (HF_HOME, HF_HUB_CACHE).
"""

from waveglow.hub.cache import is_snapshot as is_snapshot
from waveglow.hub.cache import verify as verify
from waveglow.hub.reference import FILES as FILES
from waveglow.hub.reference import PREFIX as PREFIX
from waveglow.hub.reference import HubError as HubError
from waveglow.hub.reference import Reference as Reference
from waveglow.hub.reference import is_reference as is_reference
from waveglow.hub.reference import repository_named as repository_named
from waveglow.hub.service import fetch as fetch
from waveglow.hub.service import upload as upload
