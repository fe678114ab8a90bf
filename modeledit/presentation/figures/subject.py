"""What a figure is about, and how that is printed."""

from dataclasses import dataclass

import pandas as pd

from modeledit.presentation.wording import describe_dataset


@dataclass(frozen=True)
class Subject:
    """A method or algorithm on one dataset and model; `note` is printed below the figure."""

    dataset: str
    model: str
    name: str  # of the method or algorithm
    model_title: str
    note: str = ""

    @property
    def place(self) -> str:
        """The model and the dataset, for a heading."""
        return f"{self.model_title}, {describe_dataset(self.dataset)}"

    @property
    def title(self) -> str:
        """The method as well, for a heading."""
        return f"{self.name} on {self.place}"

    def rows(self, metrics: pd.DataFrame) -> pd.DataFrame:
        """Metrics of the dataset and model."""
        return metrics[(metrics["dataset"] == self.dataset) & (metrics["model"] == self.model)]
