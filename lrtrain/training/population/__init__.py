"""Runs that are trained as one computation, each in its own folder and by its own settings."""

__all__ = ["averages", "crew", "dropout", "fit", "kinds", "one", "probe", "recurrent", "rules", "stack"]
