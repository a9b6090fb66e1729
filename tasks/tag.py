"""Tag the data commit of a published model, so that the repository names what was made of it."""

from __future__ import annotations

import logging

from configs.errors import HoneError
from tasks.publishing.local import read_lineage
from tasks.records.handles import Publication
from tasks.versioning.commits import tag_commit
from tasks.versioning.lakefs_client import SCHEME, open_client, parse_uri

LOG = logging.getLogger("hone")


def tag_data(publication: Publication) -> str | None:
    """Tag the lakeFS commit that a published version was trained on as `NAME-vVERSION`.

    The version is published whether this succeeds or not, and its lineage names the commit; what
    goes wrong is a warning, and the next run that finds the version published tries again.

    Args:
        publication: The version.

    Returns:
        The tag, or None where the data is not in lakeFS or the commit could not be tagged.
    """
    lineage = read_lineage(publication.folder)
    if lineage is None or not lineage.data_source.startswith(SCHEME):
        return None
    tag, commit = f"{publication.name}-v{publication.version}", lineage.data_commit
    try:
        repository = parse_uri(lineage.data_source).repository
        outcome = tag_commit(open_client(), repository, tag, commit)
    except HoneError as err:
        LOG.warning("publish: the data commit %s has no tag %s: %s", commit[:12], tag, err)
        return None
    if outcome == "elsewhere":
        LOG.warning(
            "publish: the tag %s of %s is on another commit than %s, and stays there",
            tag, repository, commit[:12],
        )  # fmt: skip
        return None
    LOG.info("publish: %s of %s is tagged %s", commit[:12], repository, tag)
    return tag
