"""The forecast of a pilot in words, for the report and the terminal."""

from __future__ import annotations

from tasks.records.handles import WholeRun

UNKNOWN = "not known"


def describe_forecast(forecast: WholeRun) -> dict[str, str]:
    """Return what the whole run will take, one line for each subject."""
    speed = forecast.tokens_per_second
    memory, room = forecast.memory_bytes, forecast.device_memory_bytes / 1e9
    return {
        "work": f"{forecast.steps:,} steps, {forecast.tokens:,} tokens",
        "speed": f"{speed:,.0f} tokens/s, measured in {forecast.pilot_steps} steps"
        if speed
        else UNKNOWN,
        "training": describe_seconds(forecast.training_seconds),
        "evaluation": describe_seconds(forecast.evaluation_seconds),
        "cost": f"{forecast.money:,.2f}"
        if forecast.money is not None
        else f"{UNKNOWN}: set tracking.device_hour_price",
        "memory": f"{memory / 1e9:,.2f} of {room:,.1f} GB, {forecast.memory_source}"
        if memory
        else UNKNOWN,
        "weights": f"{forecast.model_bytes / 1e6:,.1f} MB",
    }


def describe_seconds(seconds: float | None) -> str:
    """Return a time as a person reads it.

    >>> describe_seconds(36), describe_seconds(1500), describe_seconds(11700)
    ('about 36 s', 'about 25 min', 'about 3.2 h')
    """
    if seconds is None:
        return UNKNOWN
    if seconds < 180:
        return f"about {seconds:,.0f} s"
    return f"about {seconds / 3600:,.1f} h" if seconds >= 3600 else f"about {seconds / 60:,.0f} min"
