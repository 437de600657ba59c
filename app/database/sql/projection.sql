-- One row per principal component: the share of the variance of all embeddings that it holds.
SELECT component, explained_variance::DOUBLE AS explained_variance FROM projection ORDER BY component
