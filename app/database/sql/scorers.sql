-- One row per scorer of the study, the first one first: its schema, where that has all tables that depend on the scorer.
SELECT table_schema AS schema_name
FROM information_schema.tables
WHERE table_catalog = current_database() AND regexp_full_match(table_schema, 'main|scorer_[2-9]')
  AND table_name IN ('trajectory', 'rollup_prompt', 'rollup_step', 'rollup_trajectory', 'contrast', 'cell_curve',
                     'cell_pair', 'correlation_concept', 'correlation_model', 'sample', 'study')
GROUP BY ALL HAVING count(*) = 11 ORDER BY schema_name
