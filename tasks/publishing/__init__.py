"""From a proven candidate to a published version: proof, copy, registry, model card."""
