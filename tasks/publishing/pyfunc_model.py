"""The model that MLflow loads (models from code): hone's own loader, renderer and generation."""

from typing import Any

import pandas as pd  # type: ignore[import-untyped]
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from tasks.publishing.loading import Published, load_published


class PublishedModel(PythonModel):  # type: ignore[misc]
    """Answers prompts greedily, exactly as the evaluation did."""

    published: Published

    def load_context(self, context: PythonModelContext) -> None:
        """Load the artefact on its pinned base; both are verified."""
        self.published = load_published(context.artifacts["model"], context.model_config)

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - MLflow's signature
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> list[str]:
        """Return one answer for each row.

        Args:
            context: Not needed any more.
            model_input: A data frame; each row has `messages`, turns with `role` and `content`,
                or `text`.
            params: `max_new_tokens`, the longest answer.
        """
        rows = model_input.to_dict(orient="records")
        return [answer.text for answer in self.published.answer(rows, **(params or {}))]


set_model(PublishedModel())
