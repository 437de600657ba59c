-- One row per seed, in the study's order.
SELECT unnest(seeds) AS seed FROM study;
