"""Questions asked of the models' predictions: where a model looks, and whom it serves how well."""
