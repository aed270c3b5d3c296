"""What latents and predictions say of cells: types that modalities agree on, taxonomies, reports, outliers."""

__all__: list[str] = []
