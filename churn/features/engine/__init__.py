"""How features are computed: plans, kernels over Arrow batches, and the state of a stream. Nothing is declared here."""
