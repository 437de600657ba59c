-- One row per principal component: the share of the variance that it explains.
SELECT component, explained_variance::DOUBLE AS explained FROM projection ORDER BY component
